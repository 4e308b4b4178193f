"""What a module takes: arguments of one call, guessed from data or layers where none are given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from symdiag.arrays import Array
from symdiag.errors import InputError, UnsupportedError
from symdiag.network.noise import running

_SPATIAL_SIZES = (8, 16, 28, 32, 64, 96, 224)


def as_arguments(example: Any) -> tuple[Any, ...]:
    """An example that came with a module as the arguments of one call, real numbers in float64."""
    arguments = tuple(example) if isinstance(example, (tuple, list)) else (example,)
    return tuple(
        a.double() if isinstance(a, Tensor) and a.is_floating_point() else a for a in arguments
    )


def as_taken(inputs: Any, examples: tuple[Any, ...]) -> tuple[Any, ...]:
    """A call's arguments; as whole numbers where the example has indices (embeddings)."""
    given = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    known = (*examples, *(None,) * len(given))
    return tuple(_indices(g) if _is_index(k) else g for g, k in zip(given, known, strict=False))


def _is_index(argument: Any) -> bool:
    return isinstance(argument, Tensor) and argument.dtype in (torch.int64, torch.int32)


def _indices(inputs: Any) -> Any:
    """Inputs as indices: data sets are read as floating-point numbers, which hold them exactly.

    Raises:
        InputError: ``bad-data`` for numbers that are no indices.
    """
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
        return inputs
    if not torch.equal(inputs, inputs.round()):
        raise InputError(
            "the module takes indices (an embedding's), but the inputs are no whole numbers",
            code="bad-data",
            hint="Give token indices as the array X.",
        )
    return inputs.long()


def guessed_inputs(module: nn.Module, data: Array | None, *, samples: bool) -> tuple[Any, ...]:
    """A batch of two that the module accepts: like the ``data`` (N, ...), or from its first layer;
    spatial sizes are tried in turn.

    Raises:
        UnsupportedError: ``example-input-needed`` where none of them is accepted.
    """
    for candidate in (*_like(data), *_candidates(module)):
        try:
            with torch.no_grad(), running(samples=samples):
                module(candidate)
        except Exception:  # noqa: S112 - any failure means: not this shape
            continue
        return (candidate,)
    raise UnsupportedError(
        "the shape of the module's input could not be found out",
        code="example-input-needed",
        hint="give --data, whose inputs show it, or let the factory return (module, example_input)",
    )


def _like(inputs: Array | None) -> Iterator[Tensor]:
    """Noise in the shape of two points, then two points as indices if they may be some."""
    if inputs is None or not len(inputs):
        return
    generator = torch.Generator().manual_seed(0)
    yield torch.randn(2, *inputs.shape[1:], generator=generator, dtype=torch.float64)
    points = torch.from_numpy(np.resize(inputs, (2, *inputs.shape[1:])))
    if torch.equal(points, points.round()):
        yield points.long()


def _candidates(module: nn.Module) -> Iterator[Tensor]:
    """What the first layer may take: its attributes say so, in PyTorch's layers and in everyone's
    copies.
    """
    generator = torch.Generator().manual_seed(
        0
    )  # equal or vanishing inputs would hide dependencies

    def noise(*shape: int) -> Tensor:
        return torch.randn(2, *shape, generator=generator, dtype=torch.float64)

    for part in module.modules():
        features, channels = _count(part, "in_features"), _count(part, "in_channels")
        vocabulary = _count(part, "num_embeddings")
        if features:
            yield from (noise(features), noise(3, features))
        if channels:
            yield from (noise(channels, *(size,) * _spatial(part)) for size in _SPATIAL_SIZES)
        if vocabulary:
            # different indices in both rows: equal ones would hide which position matters
            tokens = torch.arange(10).reshape(2, 5) % vocabulary
            yield from (tokens, tokens[:, 0])
        if features or channels or vocabulary:
            break
    first = next((p for p in module.parameters() if p.ndim > 1), None)
    for size in () if first is None else first.shape[1::-1]:  # (out, in, ...) or (in, out)
        spatial = first.ndim - 2 if first is not None else 0
        yield from (noise(size, *(side,) * spatial) for side in _SPATIAL_SIZES[: 1 + 9 * spatial])


def _count(module: nn.Module, name: str) -> int:
    value = getattr(module, name, None)
    return value if isinstance(value, int) else 0


def _spatial(convolution: nn.Module) -> int:
    """Axes that a convolution slides over; its kernel's size may be one number for all of them."""
    size = getattr(convolution, "kernel_size", ())
    if isinstance(size, tuple) and size:
        return len(size)
    return max((p.ndim for p in convolution.parameters()), default=4) - 2
