import numpy as np
from dialect_example import SHAPES, Example, apply, softplus, values

from symdiag.formats.interface import ReadOptions

means, rhos = values(1, -1, 1), values(2, -4, 1)
EXAMPLE = Example(
    {
        "loc": np.concatenate([m.reshape(-1) for m in means.values()]),
        "scale_unconstrained": np.concatenate([r.reshape(-1) for r in rhos.values()]),
    },
    apply(float, means),
    apply(softplus, rhos),
    options=ReadOptions(model_shapes=SHAPES),
)
