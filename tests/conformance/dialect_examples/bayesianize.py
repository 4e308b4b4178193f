import numpy as np
from dialect_example import keyed, softplus


def prior(layer, part, mean, scale):
    return {
        f"{layer}.prior_{part}_mean": 0.0 * mean,
        f"{layer}.prior_{part}_sd": np.full_like(mean, 1.5),
    }


EXAMPLE = keyed("{layer}.{part}_mean", "{layer}._{part}_sd", softplus, extra=prior)
