"""The architecture: layers, the activation between them, inference from tensors, and the forward
pass.

Importing this package does not import torch (``symdiag inspect`` must not); ``forward`` does, on
first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from symdiag.network.architecture import ACTIVATIONS, ODD_ACTIVATIONS, Layer, LayerKind, Network
from symdiag.network.infer import infer_network, pickled_activation, states_chain
from symdiag.network.pickled import pickled_network
from symdiag.network.provenance import NetworkSource, Provenance, chain_provenance

if TYPE_CHECKING:
    from symdiag.network.functional import forward, forward_mlp

__all__ = [
    "ACTIVATIONS",
    "ODD_ACTIVATIONS",
    "Layer",
    "LayerKind",
    "Network",
    "NetworkSource",
    "Provenance",
    "chain_provenance",
    "forward",
    "forward_mlp",
    "infer_network",
    "pickled_activation",
    "pickled_network",
    "states_chain",
]


def __getattr__(name: str) -> Any:
    if name in {"forward", "forward_mlp"}:
        from symdiag.network import functional

        return getattr(functional, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
