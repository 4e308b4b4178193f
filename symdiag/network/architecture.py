"""Layers and networks as plain data: what the tensors of a checkpoint are, in forward order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LayerKind = Literal[
    "linear",
    "conv1d",
    "conv2d",
    "conv3d",
    "batchnorm",
    "layernorm",
    "groupnorm",
    "embedding",
    "attention",
    "lstm",
    "gru",
    "rnn",
    "other",
]

ODD_ACTIVATIONS = frozenset(
    {"tanh", "erf", "sin", "identity", "softsign", "hardtanh", "tanhshrink"}
)
"""Activations with phi(-x) = -phi(x): sign flips of a unit are then symmetries too (docs/theory/symmetry.md).
"""

ACTIVATIONS = ODD_ACTIVATIONS | {
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "silu",
    "softplus",
    "sigmoid",
}
"""Names accepted by ``--activation``."""

NORMS = frozenset({"batchnorm", "layernorm", "groupnorm"})
"""Layer kinds that rescale the units of the layer before them and produce none of their own."""

RECURRENT = frozenset({"lstm", "gru", "rnn"})
"""Layer kinds with a recurrent weight (extra ``recurrent``) whose gates are stacked along the
output axis.
"""


@dataclass(frozen=True)
class Layer:
    """One parameterised layer.

    ``in_out`` is True when the weight is stored (in, out) instead of (out, in). ``inner`` is the
    number of consecutive input columns that one unit of the layer before owns (H*W after a flatten,
    else 1), so that ``in_features`` = previous width * ``inner``. ``extras`` names further tensors
    by role (``running_mean``, ``recurrent``, ...).
    """

    name: str
    kind: LayerKind
    weight: str
    bias: str | None
    in_features: int
    out_features: int
    shape: tuple[int, ...]
    in_out: bool = False
    inner: int = 1
    extras: tuple[tuple[str, str], ...] = ()

    @property
    def is_norm(self) -> bool:
        """Whether the layer rescales the units of the layer before it and produces none of its own."""
        return self.kind in NORMS

    def tensor_for(self, role: str) -> str | None:
        """The tensor that plays ``role``, or None."""
        return dict(self.extras).get(role)


@dataclass(frozen=True)
class Network:
    """Layers in forward order. ``activation`` is None when unknown (then only permutations are
    considered).

    ``notes`` lists every assumption that the file itself could not settle.
    """

    layers: tuple[Layer, ...]
    activation: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def unit_layers(self) -> tuple[Layer, ...]:
        """The layers that produce units (all but norms)."""
        return tuple(layer for layer in self.layers if not layer.is_norm)

    @property
    def hidden_widths(self) -> tuple[int, ...]:
        """Output width of every unit-producing layer but the last."""
        return tuple(layer.out_features for layer in self.unit_layers[:-1])

    @property
    def is_mlp(self) -> bool:
        """Whether the network is a plain chain of linear layers, whose forward pass the tensors
        determine.
        """
        return all(layer.kind == "linear" and layer.inner == 1 for layer in self.layers)

    @property
    def is_odd(self) -> bool:
        """Whether the activation is known and odd."""
        return self.activation in ODD_ACTIVATIONS
