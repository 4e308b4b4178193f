"""Small Bayesian networks that are no plain chain although their tensors form one, trained quickly."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "symmetry"))

from bayesian_modules import DenseNet, Reparameterised, ResidualMLP, SharedLayer

__all__ = ["NETWORKS", "Reparameterised", "data", "inputs_of", "saved", "trained"]

NETWORKS = {"residual": ResidualMLP, "shared": SharedLayer, "dense": DenseNet}


def inputs_of(module):
    return next(p for n, p in module.named_parameters() if n.endswith("weight_mu")).shape[1]


def data(path, features, points=80, seed=0):
    """Inputs, and a target that needs more than a linear map."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((points, features))
    y = np.sin(1.5 * x[:, 0]) + 0.5 * x[:, 1] * x[:, 2] + 0.1 * rng.standard_normal(points)
    np.savez(path, X=x, y=y)
    return x, y


def trained(cls, x, y, steps=300, still=()):
    """Means fitted by squared error at small stds: one sharp mode. ``still``: what stays at zero."""
    torch.manual_seed(0)
    module = cls()
    for name, parameter in module.named_parameters():
        if name.endswith("rho"):
            parameter.data.fill_(-4.0)
            parameter.requires_grad_(False)
        if name.startswith(tuple(still)):
            parameter.data.mul_(0.01 if name.endswith("mu") else 1.0)
            parameter.requires_grad_(False)
    inputs, targets = torch.tensor(x).float(), torch.tensor(y).float()[:, None]
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], 0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        F.mse_loss(module(inputs), targets).backward()
        optimizer.step()
    return module.requires_grad_(True)


def saved(module, path):
    torch.save(module.state_dict(), path)
    return path
