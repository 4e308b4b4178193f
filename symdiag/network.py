"""The architecture: layers and the activation between them, and its forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

LayerKind = Literal["linear", "conv1d", "conv2d", "conv3d", "batchnorm", "layernorm", "groupnorm", "embedding", "other"]

ODD_ACTIVATIONS = frozenset({"tanh", "erf", "sin", "identity", "softsign", "hardtanh", "tanhshrink"})
"""Activations with phi(-x) = -phi(x): sign flips of a unit are then symmetries too (DESIGN.md 1.4)."""

ACTIVATIONS = ODD_ACTIVATIONS | {"relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "sigmoid"}
"""Names accepted by ``--activation``."""


@dataclass(frozen=True)
class Layer:
    """One parameterised layer. ``in_out`` is True when the weight is stored (in, out) instead of (out, in)."""

    name: str
    kind: LayerKind
    weight: str
    bias: str | None
    in_features: int
    out_features: int
    shape: tuple[int, ...]
    in_out: bool = False


@dataclass(frozen=True)
class Network:
    """Layers in forward order. ``activation`` is None when unknown (then only permutations are considered)."""

    layers: tuple[Layer, ...]
    activation: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def hidden_widths(self) -> tuple[int, ...]:
        """Output width of every layer but the last."""
        return tuple(layer.out_features for layer in self.layers[:-1])


def forward_mlp(network: Network, weights: Mapping[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
    """Outputs of an MLP chain with the given weights: (N, d_in) → (N, d_out); weights may carry a
    leading draw axis (S, ...), giving (S, N, d_out). An unknown activation is treated as identity-free:
    pass a network with a known one (ValueError otherwise).
    """
    raise NotImplementedError
