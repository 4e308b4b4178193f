import numpy as np
from dialect_example import Example, apply, values

from symdiag.formats.interface import ReadOptions

SHAPES = {"b1": (4,), "b2": (2,), "w1": (3, 4), "w2": (4, 2)}
means, stds = values(1, -1, 1, SHAPES), values(2, 0.01, 1, SHAPES)
EXAMPLE = Example(
    {
        "auto_loc": np.concatenate([m.reshape(-1) for m in means.values()]),
        "auto_scale": np.concatenate([s.reshape(-1) for s in stds.values()]),
    },
    apply(float, means),
    apply(float, stds),
    options=ReadOptions(model_shapes=SHAPES),
)
