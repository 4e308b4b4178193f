import math

import numpy as np
from dialect_example import Example, apply, values

means, variances = values(1, -1, 1), values(2, 0.05, 0.5)
squares = {
    name: (means[name].astype(float) ** 2 + variances[name]).astype(np.float32) for name in means
}
tree = {"n_models": np.array([20])}
for name in means:
    tree |= {f"base.{name}_mean": means[name], f"base.{name}_sq_mean": squares[name]}
std = {
    name: np.vectorize(lambda s, m: math.sqrt(float(s) - float(m) ** 2))(squares[name], means[name])
    for name in means
}
EXAMPLE = Example(
    tree,
    {f"base.{n}": v for n, v in apply(float, means).items()},
    {f"base.{n}": v for n, v in std.items()},
    half=False,
)
