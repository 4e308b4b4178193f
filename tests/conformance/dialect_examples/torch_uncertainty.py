import numpy as np
from dialect_example import keyed, softplus


def more(layer, part, mean, scale):
    return {
        f"{layer}.{part}_sampler.mu": mean,
        f"{layer}.{part}_sampler.rho": scale,
        f"{layer}.{part}_prior_dist.pi": np.array([1, 0]),
        f"{layer}.{part}_prior_dist.mus": np.zeros(2, dtype=np.float32),
        f"{layer}.{part}_prior_dist.sigmas": np.array([0.5, 0.25], dtype=np.float32),
    }


EXAMPLE = keyed("{layer}.{part}_mu", "{layer}.{part}_sigma", softplus, extra=more)
