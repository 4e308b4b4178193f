import math

from dialect_example import Example, apply, values

means, logs = values(1, -1, 1), values(2, -4, 0)
EXAMPLE = Example(
    {"params": means, "log_sd_diag": logs, "step": 3}, apply(float, means), apply(math.exp, logs)
)
