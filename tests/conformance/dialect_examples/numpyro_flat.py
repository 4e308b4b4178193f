import numpy as np
from dialect_example import Example, apply, values

from symdiag.formats.interface import ReadOptions

SHAPES = {"b1": (4,), "b2": (2,), "w1": (3, 4), "w2": (4, 2)}
OURS = {"b1": "1.bias", "b2": "2.bias", "w1": "1.weight", "w2": "2.weight"}


def renamed(arrays):
    return {OURS[name]: array for name, array in arrays.items()}


means, stds = values(1, -1, 1, SHAPES), values(2, 0.01, 1, SHAPES)
EXAMPLE = Example(
    {
        "auto_loc": np.concatenate([m.reshape(-1) for m in means.values()]),
        "auto_scale": np.concatenate([s.reshape(-1) for s in stds.values()]),
    },
    renamed(apply(float, means)),
    renamed(apply(float, stds)),
    options=ReadOptions(model_shapes=SHAPES),
)
