"""Where training from scratch starts."""

from __future__ import annotations

import math

import numpy as np

from symdiag.posterior import Array, Posterior
from symdiag.training.streams import stream

INITIAL_STD = 0.05


def scratch(posterior: Posterior, seed: int) -> Posterior:
    """Random means (He et al. 2015 for matrices, zero for vectors) and stds of 0.05; deterministic weights are kept."""
    generator = stream(seed, "initial")
    loc: dict[str, Array] = {}
    scale: dict[str, Array] = {}
    for name, old in posterior.loc.items():
        random = posterior.scale[name] > 0
        fan_in = math.prod(old.shape[1:])
        spread = math.sqrt(2.0 / fan_in) if old.ndim > 1 else 0.0
        loc[name] = np.where(random, spread * generator.standard_normal(old.shape), old)
        scale[name] = np.where(random, INITIAL_STD, 0.0)
    return posterior.replace(loc=loc, scale=scale, covariance=None)
