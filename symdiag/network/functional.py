"""The forward pass of a chain with given weights: functional, differentiable, batched over weight
draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from symdiag.errors import UnsupportedError, UsageError
from symdiag.network.architecture import Layer, Network

ACTIVATION_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "erf": torch.erf,
    "sin": torch.sin,
    "identity": lambda x: x,
    "softsign": F.softsign,
    "hardtanh": F.hardtanh,
    "tanhshrink": F.tanhshrink,
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "selu": F.selu,
    "gelu": F.gelu,
    "silu": F.silu,
    "softplus": F.softplus,
    "sigmoid": torch.sigmoid,
}


def forward(
    network: Network,
    weights: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor] | None,
    inputs: Tensor,
) -> Tensor:
    """Outputs of a chain of linear (and norm) layers.

    Args:
        network: the chain; its activation must be known if it has a hidden layer.
        weights: tensor name → (*shape) or, for every tensor alike, (S, *shape) with a leading draw
            axis.
        buffers: BatchNorm running statistics; None for networks without.
        inputs: (N, d_in); (S, N, d_in) to give each draw its own.

    Returns:
        (N, d_out), or (S, N, d_out) when the weights carry a draw axis.

    Raises:
        UsageError: ``activation-unknown``.
        UnsupportedError: ``forward-undetermined`` when tensors alone do not fix the computation
            (convolutions: padding, stride and pooling are not in a checkpoint).
    """
    activate = _activation(network)
    lookup = {**(buffers or {}), **weights}
    units = network.unit_layers
    hidden = inputs
    for layer in network.layers:
        if layer.is_norm:
            hidden = normalise(layer, lookup, hidden)
            continue
        # before the layer, not after it: norms stand between a layer and its activation, and the
        # last layer has none
        if layer is not units[0]:
            hidden = activate(hidden)
        hidden = _linear(layer, lookup, hidden)
    return hidden


def forward_mlp(network: Network, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    """``forward`` for a chain without buffers: (N, d_in) → (N, d_out), or (S, N, d_out) with a draw
    axis.
    """
    return forward(network, weights, None, inputs)


def _activation(network: Network) -> Callable[[Tensor], Tensor]:
    if network.activation is not None:
        return ACTIVATION_FUNCTIONS[network.activation]
    # one layer: there is nothing for an activation to act on
    if len(network.unit_layers) < 2:
        return ACTIVATION_FUNCTIONS["identity"]
    raise UsageError(
        "the activation is unknown, so the network's outputs cannot be computed",
        code="activation-unknown",
        hint="pass --activation, for example --activation relu",
    )


def _linear(layer: Layer, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    """(..., N, in) → (..., N, out); a draw axis on the weights is broadcast against the inputs."""
    if layer.kind != "linear" or layer.inner != 1:
        raise UnsupportedError(
            f"{layer.name} is a {layer.kind} layer: a checkpoint does not say how its outputs are computed",
            code="forward-undetermined",
            hint="name the module with --model package.module:factory",
        )
    weight = weights[layer.weight]
    matrix = weight if layer.in_out else weight.mT  # (..., in, out)
    product = (
        _shared_inputs(inputs, matrix) if inputs.ndim == 2 and matrix.ndim == 3 else inputs @ matrix
    )
    if layer.bias is None:
        return product
    bias = weights[layer.bias]
    return product + (
        # the draw axis is told by the weight: a bias stored as (1, n) and a single draw of n biases
        # look alike
        bias.reshape(-1) if weight.ndim == 2 else bias.reshape(weight.shape[0], 1, -1)
    )


def _shared_inputs(inputs: Tensor, matrix: Tensor) -> Tensor:
    """The same inputs for every draw, as one product: (N, in) and (S, in, out) → (S, N, out)."""
    draws, features, units = matrix.shape
    # (in, S * out): one large product instead of S small ones
    flat = inputs @ matrix.transpose(0, 1).reshape(features, draws * units)
    return flat.view(-1, draws, units).transpose(0, 1)


def normalise(
    layer: Layer, weights: Mapping[str, Tensor], hidden: Tensor, epsilon: float = 1e-5
) -> Tensor:
    """Evaluation-mode BatchNorm, or LayerNorm over the last axis, with PyTorch's default epsilon."""
    if layer.kind == "batchnorm":
        mean, variance = (
            weights[layer.tensor_for("running_mean") or ""],
            weights[layer.tensor_for("running_var") or ""],
        )
        # the stored statistics, not the batch's: outputs must not depend on who else is in the
        # batch
        standard = (hidden - _row(mean)) * torch.rsqrt(_row(variance) + epsilon)
    elif layer.kind == "layernorm":
        standard = F.layer_norm(hidden, hidden.shape[-1:], eps=epsilon)
    else:
        raise UnsupportedError(
            f"{layer.name} may be any of several norms: a checkpoint does not say which",
            code="forward-undetermined",
            hint="name the module with --model package.module:factory",
        )
    shift = 0.0 if layer.bias is None else _row(weights[layer.bias])
    return standard * _row(weights[layer.weight]) + shift


def _row(vector: Tensor) -> Tensor:
    """(n,) unchanged; (S, n) → (S, 1, n), to broadcast over the batch."""
    return vector if vector.ndim == 1 else vector.unsqueeze(-2)
