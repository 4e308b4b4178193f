"""Posteriors with correlations: the flat order of a covariance, its marginals, and pieces of flat vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from symdiag.arrays import Array
from symdiag.errors import InputError, UnsupportedError
from symdiag.formats.fields import Slot, flat_slots, total_size
from symdiag.formats.interface import SHAPES_HINT, RawCheckpoint, ReadOptions
from symdiag.formats.naming import tidy
from symdiag.formats.state_dict import find_state_dict
from symdiag.posterior import Covariance, Posterior


def with_covariance(
    posterior: Posterior, order: Sequence[str], factor: Array, diagonal: Array
) -> Posterior:
    """``posterior``, just read, with covariance factor factor^T + diag(diagonal) over ``order``, and its marginal stds.

    Args:
        posterior: its scales over ``order`` are replaced.
        order: names of the tensors, as they follow each other in the flat vector of size D.
        factor: (D, R).
        diagonal: (D,).
    """
    marginal = np.sqrt(np.einsum("dr,dr->d", factor, factor) + diagonal)
    scale = {
        **posterior.scale,
        **split(marginal, {name: posterior.loc[name].shape for name in order}),
    }
    covariance = Covariance(tuple(order), factor, diagonal)
    source = posterior.source
    assert source is not None
    source = replace(source, template=replace(source.template, covariance=covariance))
    return posterior.replace(scale=scale, covariance=covariance, source=source)


def split(flat: Array, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """Name → its piece of a flat vector, in the order of ``shapes``."""
    return {name: slot.cut(flat) for name, slot in flat_slots((), shapes).items()}


def pieces(covariance: Covariance, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Slot]:
    """Name → where its rows are in the covariance."""
    return flat_slots((), {name: shapes[name] for name in covariance.order})


def is_as_read(posterior: Posterior) -> bool:
    """Whether the covariance is, to the bit, the one that was in the file (or there is none, as in the file)."""
    assert posterior.source is not None
    first: Covariance | None = posterior.source.template.covariance
    second = posterior.covariance
    if first is None or second is None:
        return first is second
    return (
        first.order == second.order
        and np.array_equal(first.factor, second.factor)
        and np.array_equal(first.diagonal, second.diagonal)
    )


def model_shapes(options: ReadOptions, size: int, what: str) -> dict[str, tuple[int, ...]]:
    """The shapes behind a flat vector of ``size``, as given by the user or a companion state dict.

    Raises:
        UnsupportedError: ``needs-model-shapes`` when nobody gave them.
        InputError: ``shape-mismatch`` when they do not add up to ``size``.
    """
    shapes = options.model_shapes
    if shapes is None and options.companion is not None:
        _check_ordered(options.companion)
        shapes = companion_shapes(options.companion)
    if shapes is None:
        raise UnsupportedError(
            f"{what} is one flat vector of {size} values; the file does not say which tensors they are",
            code="needs-model-shapes",
            hint=f"name the model's state dict with --companion, or {SHAPES_HINT}",
        )
    if total_size(shapes.values()) != size:
        raise InputError(
            f"{what} has {size} values, the given tensors {total_size(shapes.values())}",
            code="shape-mismatch",
            hint=f"every latent variable counts, in the order of the model, a noise scale too: {SHAPES_HINT}",
        )
    return {name: tuple(shape) for name, shape in shapes.items()}


def _check_ordered(companion: RawCheckpoint) -> None:
    """Raise UnsupportedError ``order-unknown`` for a container that sorts its tensors by name."""
    if companion.container == "safetensors":
        raise UnsupportedError(
            "a safetensors file does not keep the model's order, which a flat vector needs",
            code="order-unknown",
            hint=f"use a state dict saved with torch.save, or {SHAPES_HINT}",
        )


def companion_shapes(companion: RawCheckpoint) -> dict[str, tuple[int, ...]]:
    """Name → shape of the parameters of a companion state dict, in file order."""
    from symdiag.formats.assemble import leftovers

    found = find_state_dict(companion.tree)
    plain, _, _ = leftovers(found.arrays, found.paths, ())
    return {tidy(item.name): item.loc.shape for item in plain}
