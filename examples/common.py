"""What the examples share: data, the full KL, and the straddling entropy of a module."""

import math
import sys

import numpy as np
import torch

WIDTH = 8
NOISE = 0.3


def wave(count=60, seed=0):
    """y = sin 2x + 0.3 x + noise."""
    generator = np.random.default_rng(seed)
    x = generator.uniform(-3.0, 3.0, (count, 1))
    y = np.sin(2.0 * x) + 0.3 * x + NOISE * generator.standard_normal((count, 1))
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)


def nll(predicted, targets):
    """Negative log-likelihood summed over the data, nats."""
    constant = math.log(NOISE) + 0.5 * math.log(2.0 * math.pi)
    return (0.5 * ((targets - predicted) / NOISE) ** 2 + constant).sum()


def kl_to_unit_gaussian(pairs):
    """Σ KL(N(μ, σ) || N(0, 1)) over all weights, nats."""
    return sum((0.5 * (sigma**2 + mu**2 - 1.0) - torch.log(sigma)).sum() for mu, sigma in pairs)


def steps_from_command_line(default=1500):
    """The first argument, or the default."""
    return int(sys.argv[1]) if len(sys.argv) > 1 else default


def report(name, plain, penalised):
    """Print both straddling entropies; return them."""
    print(f"{name}: H(g|w) = {plain:.2f} nats with the ELBO, {penalised:.2f} with the penalty")
    return plain, penalised
