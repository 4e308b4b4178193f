import math

import numpy as np
from dialect_example import Example, apply, values

ESS, DECAY = 600.0, 1e-3
means, curvature = values(1, -1, 1), values(2, 0.01, 0.5)
flat = np.concatenate([h.reshape(-1) for h in curvature.values()])
group = {
    "lr": 0.1,
    "ess": ESS,
    "weight_decay": DECAY,
    "hess": flat,
    "momentum": 0 * flat,
    "params": [0, 1, 2, 3],
}
EXAMPLE = Example(
    {
        "model_state_dict": means,
        "optimizer_state_dict": {"state": {"count": 0}, "param_groups": [group]},
    },
    apply(float, means),
    apply(lambda h: 1.0 / math.sqrt(ESS * (h + DECAY)), curvature),
    wraps=False,
)
