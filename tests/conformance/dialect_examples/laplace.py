import math

import numpy as np
from dialect_example import Example, apply, raw_of, values

from symdiag.formats.interface import ReadOptions

NOISE, TEMPERATURE, PRECISION = 0.5, 2.0, 3.0
means, curvature = values(1, -1, 1), values(2, 0.01, 4.0)
EXAMPLE = Example(
    {
        "mean": np.concatenate([m.reshape(-1) for m in means.values()]),
        "H": np.concatenate([h.reshape(-1) for h in curvature.values()]),
        "loss": np.float32(3.0) * np.ones(()),
        "prior_mean": np.zeros(()),
        "prior_precision": np.full(1, PRECISION, dtype=np.float32),
        "sigma_noise": np.full((), NOISE, dtype=np.float32),
        "n_data": 20,
        "likelihood": "regression",
        "temperature": TEMPERATURE,
        "cls_name": "DiagLaplace",
    },
    apply(float, means),
    apply(lambda h: 1.0 / math.sqrt(h / (NOISE**2 * TEMPERATURE) + PRECISION), curvature),
    options=ReadOptions(companion=raw_of(dict(means))),
    wraps=False,
    half=False,
)
