"""Usual ways to weigh the KL in a loss, and which of them would give what was measured.

A convention says how the KL is spread over tensors: summed over all weights, or averaged within
each tensor or layer. A factor says by what it is multiplied for N points in batches of B. In terms
of E[log p] summed over all points, a loss that is a mean over points plus w·KL has T = w·N, and one
that is a sum over each batch plus w·KL has T = w·N/B.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from symdiag.arrays import Array
from symdiag.diagnostics.kl_weight.result import Cause, KlWeight

BATCH_SIZES = (4, 8, 10, 16, 20, 25, 32, 50, 64, 100, 128, 200, 250, 256, 500, 512, 1000, 1024)
"""Tried where the batch size is not known."""

MOST_CAUSES = 3
_SQUARED = "squared error as the loss (no noise std), "


@dataclass(frozen=True)
class Sizes:
    """What factors depend on: points, scalar weights, tensors' sizes and their layers."""

    points: int
    tensors: tuple[int, ...]
    layers: tuple[str, ...]  # one per tensor

    @property
    def weights(self) -> int:
        """Scalar weights."""
        return sum(self.tensors)

    @property
    def layer_count(self) -> int:
        """Layers that own tensors."""
        return len(set(self.layers))


@dataclass(frozen=True)
class Convention:
    """How a KL is spread over tensors: ``share`` gives each tensor's factor."""

    name: str
    words: str
    share: Callable[[Sizes], Array]
    libraries: tuple[str, ...] = ()


def _within_tensors(sizes: Sizes) -> Array:
    return np.array([1.0 / size for size in sizes.tensors])


def _within_layers(sizes: Sizes) -> Array:
    total = {name: 0 for name in sizes.layers}
    for name, size in zip(sizes.layers, sizes.tensors, strict=True):
        total[name] += size
    return np.array([1.0 / total[name] for name in sizes.layers])


CONVENTIONS = (
    Convention("summed", "the KL summed over weights", lambda s: np.ones(len(s.tensors))),
    Convention(
        "tensor-mean",
        "the KL averaged within each tensor",
        _within_tensors,
        # BaseVariationalLayer_.kl_div returns kl.mean(); get_kl_loss adds these up
        libraries=("bayesian-torch",),
    ),
    Convention("layer-mean", "the KL averaged within each layer", _within_layers),
)
"""The first is the ELBO's."""


def tensor_weights(weight: KlWeight, shapes: Sequence[tuple[str, tuple[int, ...]]]) -> Array:
    """T of every scalar weight (D,), C order, where the average over them is ``weight.value``."""
    assert weight.value is not None
    counts = tuple(math.prod(shape) for _, shape in shapes)
    sizes = Sizes(1, counts, tuple(layer_of(name) for name, _ in shapes))
    convention = next(c for c in CONVENTIONS if c.name == weight.convention)
    share: Array = np.repeat(convention.share(sizes), counts)
    return share * (weight.value / float(share.mean()))


def layer_of(tensor: str) -> str:
    """The layer that a tensor of this name belongs to."""
    return tensor.rpartition(".")[0] or tensor


@dataclass(frozen=True)
class _Factor:
    """``weight`` of (sizes, B) beside E[log p] of all points; ``words`` may name N, B, D, L, K batches."""

    name: str
    weight: Callable[[Sizes, int], float]
    words: str
    batched: bool = False
    libraries: tuple[str, ...] = ()


# the likeliest first: where several fit about as well, the earlier ones are named
_FACTORS = (
    _Factor("elbo", lambda s, b: 1.0, "in full, once per pass over the data"),
    _Factor(
        "full-per-batch",
        lambda s, b: s.points / b,
        "in full on every minibatch of {B} of {N} (or divided by {B} beside a mean loss)",
        batched=True,
        # the documented loss: mean cross entropy + kl / batch_size
        libraries=("bayesian-torch",),
    ),
    _Factor(
        "full-per-batch",
        lambda s, b: -(-s.points // b),
        "in full on each of {K} minibatches, {B} of {N} points and the rest in the last",
        batched=True,
    ),
    _Factor("not-per-point", lambda s, b: s.points, "not divided by N = {N} beside a mean loss"),
    _Factor("per-point-of-sum", lambda s, b: 1.0 / s.points, "divided by N = {N} beside a sum"),
    _Factor(
        "per-batches-of-mean",
        lambda s, b: b,
        "divided by the number of batches beside a mean over {B} points",
        batched=True,
    ),
    _Factor(
        "per-point-of-batch-sum",
        lambda s, b: 1.0 / b,
        "divided by N = {N} beside a sum over {B} points",
        batched=True,
    ),
    _Factor(
        "per-batches-twice",
        lambda s, b: b / s.points,
        "divided by the number of batches twice (minibatches of {B} of {N})",
        batched=True,
    ),
)


def _averaged(times: float) -> _Factor:
    words = "" if times == 1.0 else f", times {times:g},"
    return _Factor(
        "mean-over-weights",
        lambda s, b: times * s.points / s.weights,
        f"averaged over all {{D}} weights{words} beside a mean loss over points",
        libraries=("torchbnn",),
    )


_SPREADS = (
    # torchbnn: BKLLoss(reduction="mean") averages over all weights; its examples multiply by .1, .01
    *(_averaged(times) for times in (1.0, 0.1, 0.01)),
    _Factor("mean-over-weights", lambda s, b: 1.0 / s.weights, "averaged over all {D} weights"),
    # torch-uncertainty: KLDiv divides by the layers; −½ per weight shifts its value, not gradients
    _Factor(
        "mean-over-layers",
        lambda s, b: 1.0 / s.layer_count,
        "averaged over {L} layers, then weighed as it should be (−½ per weight shifts its value only)",
        libraries=("torch-uncertainty",),
    ),
    _Factor(
        "mean-over-layers",
        lambda s, b: s.points / s.layer_count,
        "averaged over {L} layers, not divided by N = {N}",
        libraries=("torch-uncertainty",),
    ),
    _Factor(
        "mean-over-layers",
        lambda s, b: s.points / b / s.layer_count,
        "averaged over {L} layers, in full on every minibatch of {B}",
        batched=True,
        libraries=("torch-uncertainty",),
    ),
)


ELBO = Cause("elbo", 1.0, "KL in full, once per pass over the data")
"""What is no mistake."""


def causes(
    convention: Convention,
    sizes: Sizes,
    measured: float,
    half_width: float,
    *,
    batch_size: int | None,
    library: str | None,
    squared: float | None = None,
    squared_first: bool = False,
) -> tuple[Cause, ...]:
    """The factors that fit ``measured``, the convention's own, within a relative half-width.

    Args:
        convention: How the KL is spread; factors multiply its shares.
        sizes: Of data and network.
        measured: The factor.
        half_width: Of the interval of its log.
        batch_size: Of training; None tries the usual ones.
        library: That wrote the file: its own conventions come first.
        squared: 1/(2ν²), the factor by which a squared error differs from a Gaussian likelihood.
        squared_first: Whether that is the likelier loss (the noise std is not known).
    """
    found: list[tuple[tuple[bool, bool, float], Cause]] = []
    losses = [("", 1.0, squared_first)]
    if squared is not None:
        losses.append((_SQUARED, squared, not squared_first))
    for prefix, factor, unlikely in losses:
        for rank, cause in _candidates(convention, sizes, batch_size, library):
            weight = cause.weight * factor
            off = abs(math.log(measured / weight))
            if off > max(half_width, 0.02):
                continue
            own = cause.library is not None and cause.library == library
            made = Cause(cause.name, weight, prefix + cause.text, cause.library, cause.batch_size)
            # a library's own loss, then the likelier one, then how well it fits
            found.append(((not own, unlikely, off + 0.01 * rank), made))
    found.sort(key=lambda entry: entry[0])
    kept: list[Cause] = []
    for _, cause in found:
        if all(cause.name != other.name for other in kept):
            kept.append(cause)
    return tuple(kept[:MOST_CAUSES])


def _candidates(
    convention: Convention, sizes: Sizes, batch_size: int | None, library: str | None
) -> Iterator[tuple[int, Cause]]:
    spreads: Sequence[_Factor] = _SPREADS if convention.name == "summed" else ()
    batches = (batch_size,) if batch_size else BATCH_SIZES
    for rank, factor in enumerate((*_FACTORS, *spreads)):
        libraries = factor.libraries if convention.name == "summed" else convention.libraries
        named = library if library in libraries else next(iter(libraries), None)
        if convention.name == "summed" and factor in _FACTORS:
            named = None
        for batch in [b for b in batches if b < sizes.points] if factor.batched else [0]:
            words = factor.words.format(
                N=sizes.points,
                B=batch,
                K=-(-sizes.points // batch) if batch else 1,
                D=sizes.weights,
                L=sizes.layer_count,
            )
            text = f"{convention.words}, {words}" if convention.name != "summed" else f"KL {words}"
            weight = factor.weight(sizes, batch)
            yield rank, Cause(factor.name, weight, text, named, batch or None)
