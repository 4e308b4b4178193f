from dialect_example import keyed, softplus


def sampler(layer, part, mean, scale):
    return {
        f"{layer}.{part}_sampler.mu": mean,
        f"{layer}.{part}_sampler.rho": scale,
        f"{layer}.{part}_sampler.eps_w": 0.0 * mean + 1.5,
    }


EXAMPLE = keyed("{layer}.{part}_mu", "{layer}.{part}_rho", softplus, extra=sampler)
