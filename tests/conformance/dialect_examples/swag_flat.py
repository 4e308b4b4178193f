import math

import numpy as np
from dialect_example import SHAPES, Example, apply, values

from symdiag.formats.interface import ReadOptions

means, variances = values(1, -1, 1), values(2, 0.05, 0.5)
squares = {n: (means[n].astype(float) ** 2 + variances[n]).astype(np.float32) for n in means}


def flat(arrays):
    return np.concatenate([values.reshape(-1) for values in arrays.values()])


EXAMPLE = Example(
    {"w_avg": flat(means), "w2_avg": flat(squares)},
    apply(float, means),
    {
        n: np.vectorize(lambda s, m: math.sqrt(float(s) - float(m) ** 2))(squares[n], means[n])
        for n in means
    },
    options=ReadOptions(model_shapes=SHAPES),
    half=False,
)
