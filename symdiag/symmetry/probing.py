"""Forward passes for verification: the user's own module where there is one, else the inferred
chain.

What a checkpoint leaves open (activation, padding, pooling) is stood in for by some choice: enough
to show that the members of a group fit together, not that the user's network has this architecture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from symdiag.network.architecture import RECURRENT, Layer, Network
from symdiag.network.functional import ACTIVATION_FUNCTIONS, forward, normalise
from symdiag.network.module import UserModel
from symdiag.symmetry.verification import ForwardFn

_BATCH = 8
_SIDE = 5
_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_POOLS: dict[int, Callable[..., Tensor]] = {
    1: F.adaptive_avg_pool1d,
    2: F.adaptive_avg_pool2d,
    3: F.adaptive_avg_pool3d,
}

Arrays = Mapping[str, NDArray[np.floating]]


def model_probe(model: UserModel, generator: np.random.Generator) -> ForwardFn:
    """All outputs of the user's module on random inputs shaped like its example."""
    # the smallest vocabulary: an index drawn below it is valid in every embedding
    sizes = [m.num_embeddings for m in model.module.modules() if isinstance(m, torch.nn.Embedding)]
    inputs = tuple(
        _randomised(argument, min(sizes, default=1), generator) for argument in model.example_inputs
    )

    def run(weights: Arrays, buffers: Arrays) -> NDArray[np.floating]:
        with torch.no_grad():
            return model.all_outputs(_tensors({**buffers, **weights}), inputs).numpy()

    return run


def _randomised(argument: object, tokens: int, generator: np.random.Generator) -> object:
    """Gaussian noise for real inputs; token indices keep their range and are shuffled.

    Indices that are all alike would hide much of the network: then any of the ``tokens`` that every
    embedding has.
    """
    if not isinstance(argument, Tensor):
        return argument
    if argument.is_floating_point():
        return torch.from_numpy(generator.standard_normal(tuple(argument.shape)))
    if (
        argument.dtype == torch.long
        and argument.numel() > 1
        and bool((argument == argument.reshape(-1)[0]).all())
    ):
        return torch.from_numpy(
            generator.integers(max(tokens, int(argument.max()) + 1), size=tuple(argument.shape))
        )
    order = generator.permutation(argument.numel())
    return argument.reshape(-1)[torch.from_numpy(order)].reshape(argument.shape)


def chain_probe(
    network: Network, generator: np.random.Generator, *, signed: bool = False
) -> ForwardFn:
    """Outputs of the inferred chain on random inputs.

    Args:
        network: the chain. An unknown activation is stood in for: softplus, or tanh where
            ``signed`` groups claim an odd one.
        generator: source of the inputs.
        signed: whether the spec to be checked claims sign flips.
    """
    # softplus is neither odd nor piecewise linear, so
    # no symmetry appears that the stand-in alone has
    stand_in = replace(network, activation=network.activation or ("tanh" if signed else "softplus"))
    inputs = _inputs(network.unit_layers[0], generator)
    plain = all(
        layer.kind in {"linear", "batchnorm", "layernorm"} and layer.inner == 1
        for layer in network.layers
    )

    def run(weights: Arrays, buffers: Arrays) -> NDArray[np.floating]:
        tensors = _tensors({**buffers, **weights})
        with torch.no_grad():
            outputs = (
                forward(stand_in, tensors, None, inputs)
                if plain
                else _walk(stand_in, tensors, inputs)
            )
        return np.asarray(outputs.numpy())

    return run


def _tensors(arrays: Arrays) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}


def _inputs(first: Layer, generator: np.random.Generator) -> Tensor:
    if first.kind == "embedding":
        return torch.from_numpy(generator.integers(first.in_features, size=(_BATCH, _SIDE)))
    if first.kind in RECURRENT:
        return torch.from_numpy(generator.standard_normal((_BATCH, _SIDE, first.in_features)))
    # shape is (out, in, *kernel): as many spatial axes as the kernel has
    spatial = (_SIDE,) * (len(first.shape) - 2)
    return torch.from_numpy(generator.standard_normal((_BATCH, first.in_features, *spatial)))


def _walk(network: Network, tensors: Mapping[str, Tensor], hidden: Tensor) -> Tensor:
    """A stand-in forward: half padding, average pooling down to what a linear layer takes."""
    activate = ACTIVATION_FUNCTIONS[network.activation or "softplus"]
    before: Layer | None = None
    for layer in network.layers:
        maps = before is not None and before.kind.startswith("conv")
        if layer.is_norm:
            hidden = _norm(layer, tensors, hidden, channel_axis=1 if maps else -1)
            continue
        if before is not None and layer.kind not in RECURRENT:
            hidden = activate(hidden)
        if maps and layer.kind == "linear":
            # (N, C, *space) down to layer.inner places per channel,
            # flattened so that each channel's are consecutive
            spatial = hidden.ndim - 2
            hidden = _POOLS[spatial](hidden, (*(1,) * (spatial - 1), layer.inner)).flatten(1)
        hidden = _apply(layer, tensors, hidden)
        before = layer
    return hidden


def _norm(
    layer: Layer, tensors: Mapping[str, Tensor], hidden: Tensor, *, channel_axis: int
) -> Tensor:
    """A norm over the channel axis; one we cannot tell leaves its inputs alone (its units are in no
    group).
    """
    if layer.kind == "groupnorm":
        return hidden
    return normalise(layer, tensors, hidden.movedim(channel_axis, -1)).movedim(-1, channel_axis)


def _apply(layer: Layer, tensors: Mapping[str, Tensor], hidden: Tensor) -> Tensor:
    weight = tensors[layer.weight]
    bias = None if layer.bias is None else tensors[layer.bias].reshape(-1)
    if layer.kind == "embedding":
        return F.embedding(hidden, weight if layer.in_out else weight.mT)
    if layer.kind in RECURRENT:
        return _recurrent(layer, tensors, hidden)
    if layer.kind.startswith("conv"):
        # half padding keeps every map at least as large as the inputs, whatever the depth
        padding = tuple(size // 2 for size in weight.shape[2:])
        return _CONVOLUTIONS[weight.ndim - 2](hidden, weight, bias, padding=padding)
    return F.linear(hidden, weight.mT if layer.in_out else weight, bias)


def _recurrent(layer: Layer, tensors: Mapping[str, Tensor], hidden: Tensor) -> Tensor:
    """Any recurrence whose gates act unit by unit will do: all gates together drive tanh units."""
    incoming, recurrent = tensors[layer.weight], tensors[layer.tensor_for("recurrent") or ""]
    if not layer.in_out:
        incoming, recurrent = incoming.mT, recurrent.mT
    gates = incoming.shape[1] // layer.out_features
    biases = [
        tensors[name].reshape(-1)
        for name in (layer.bias, layer.tensor_for("recurrent_bias"))
        if name
    ]
    state = hidden.new_zeros(hidden.shape[0], layer.out_features)
    outputs = []
    for step in range(hidden.shape[1]):
        total = hidden[:, step] @ incoming + state @ recurrent
        for bias in biases:
            total = total + bias
        # (N, gates, n): any function of a unit's own gates commutes with reordering the units
        by_gate = total.reshape(-1, gates, layer.out_features)
        state = torch.tanh(by_gate[:, 0] + torch.sigmoid(by_gate[:, 1:]).cumprod(1).sum(1))
        outputs.append(state)
    return torch.stack(outputs, 1)
