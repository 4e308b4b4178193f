import numpy as np
from dialect_example import keyed, softplus

EXAMPLE = keyed(
    "{layer}.{part}_mu",
    "{layer}.{part}_rho",
    softplus,
    extra=lambda layer, part, mean, scale: {
        f"{layer}.{part}_prior_mu": np.full_like(mean, 0.5),
        f"{layer}.{part}_prior_sigma": np.full_like(mean, 1.5),
    },
)
