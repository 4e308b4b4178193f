"""Whether a module computes the plain chain that its tensors form, and with which activation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from symdiag.network.architecture import Network
from symdiag.network.functional import ACTIVATION_FUNCTIONS
from symdiag.network.functional import forward as chain_forward
from symdiag.posterior import Posterior


def computed_chain(
    posterior: Posterior,
    network: Network | None,
    forward: Callable[..., Any],
) -> Network | None:
    """The chain of linear layers, with its activation, that a module computes; None if it is none.

    The functions are compared on random weights and inputs: names and shapes do not show a skip
    connection, a scale inside the forward pass, or which activation it is.
    """
    if network is None or not network.is_mlp:
        return None
    generator = np.random.default_rng(0)
    weights = {
        name: torch.from_numpy(
            generator.standard_normal((2, *loc.shape)) / max(1, loc.size) ** 0.25
        )
        for name, loc in posterior.loc.items()
    }
    buffers = {
        name: torch.from_numpy(np.broadcast_to(value, (2, *np.shape(value))).copy())
        for name, value in posterior.buffers.items()
    }
    features = network.layers[0].in_features
    inputs = torch.from_numpy(generator.standard_normal((8, features)))
    try:
        with torch.no_grad():
            theirs = forward({**buffers, **weights}, inputs)
    except (RuntimeError, ValueError, IndexError, TypeError):  # it takes no vectors
        return None
    hidden = len(network.unit_layers) > 1
    for activation in ACTIVATION_FUNCTIONS if hidden else ("identity",):
        chain = replace(network, activation=activation if hidden else network.activation)
        ours = chain_forward(chain, weights, None, inputs)
        if ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=1e-9, atol=1e-9):
            return chain
    return None
