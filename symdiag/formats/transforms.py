"""Scale parameters as stored ↔ standard deviations, and which transform a file means.

Forward and inverse are accurate over the whole float64 range.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symdiag.arrays import Array, Arrays
from symdiag.errors import UnsupportedError, UsageError
from symdiag.formats.interface import Tree, to_float64
from symdiag.formats.tree import Path, at


@dataclass(frozen=True)
class Transform:
    """``forward``: stored parameter → std; ``inverse``: std → stored parameter.

    Both elementwise, float64.

    ``positive`` says that the stored value itself must be > 0 (a std, a variance or a precision).
    """

    name: str
    forward: Callable[[Array], Array]
    inverse: Callable[[Array], Array]
    positive: bool = False


def _quiet(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Let overflow, log 0 and roots of negatives give inf or nan in silence; the caller checks the
    result.
    """

    def wrapped(values: Array) -> Array:
        with np.errstate(all="ignore"):
            return function(np.asarray(values, dtype=np.float64))

    return wrapped


def softplus_inverse(std: Array) -> Array:
    """The rho with log(1 + exp(rho)) = std; -inf at 0."""
    # log(exp(std) - 1), written so that neither a tiny nor a huge std cancels or overflows
    return np.asarray(std + np.log(-np.expm1(-std)))


# logaddexp(0, rho) keeps its relative precision where log1p(exp(rho)) overflows or rounds to 0
SOFTPLUS = Transform(
    "softplus", _quiet(lambda rho: np.logaddexp(0.0, rho)), _quiet(softplus_inverse)
)
EXP = Transform("exp", _quiet(np.exp), _quiet(np.log))
IDENTITY = Transform("identity", _quiet(lambda std: std), _quiet(lambda std: std), positive=True)
EXP_HALF = Transform(
    "exp-half", _quiet(lambda logvar: np.exp(0.5 * logvar)), _quiet(lambda std: 2.0 * np.log(std))
)
SQRT = Transform("sqrt", _quiet(np.sqrt), _quiet(np.square), positive=True)


def shifted_softplus(shift: float) -> Transform:
    """std = shift + softplus(rho), with a floor of ``shift``; the inverse is -inf at the floor."""
    return Transform(
        f"{shift:g}+softplus",
        _quiet(lambda rho: shift + np.logaddexp(0.0, rho)),
        # at the floor rounding may leave std - shift just below 0, whose logarithm is no number
        _quiet(lambda std: softplus_inverse(np.maximum(std - shift, 0.0))),
    )


def shifted_exp(shift: float) -> Transform:
    """std = shift + exp(rho)."""
    return Transform(
        f"{shift:g}+exp",
        _quiet(lambda rho: shift + np.exp(rho)),
        _quiet(lambda std: np.log(std - shift)),
    )


def interval(lower: float, upper: float) -> Transform:
    """std = lower + (upper - lower) * sigmoid(rho), PyTorch's transform to a bounded interval."""
    width = upper - lower
    return Transform(
        f"sigmoid({lower:g},{upper:g})",
        # sigmoid as exp(-softplus(-rho)): no overflow on either side
        _quiet(lambda rho: lower + width * np.exp(-np.logaddexp(0.0, -rho))),
        # logit as a difference of logs: the quotient overflows near the upper bound
        _quiet(lambda std: np.log(std - lower) - np.log(upper - std)),
    )


def precision(factor: float | Array, offset: float | Array, name: str) -> Transform:
    """std = (factor * h + offset)^(-1/2): curvature h stored, prior precision in ``offset``
    (broadcast to h).
    """
    return Transform(
        name,
        _quiet(lambda h: 1.0 / np.sqrt(factor * h + offset)),
        _quiet(lambda std: (1.0 / np.square(std) - offset) / factor),
    )


BY_NAME = {t.name: t for t in (SOFTPLUS, EXP, IDENTITY, EXP_HALF, SQRT, shifted_softplus(1e-6))}
"""What ``--scale-transform`` accepts."""


def transform_named(name: str) -> Transform:
    """The transform called ``name``. Raises UsageError for any other name."""
    try:
        return BY_NAME[name]
    except KeyError:
        raise UsageError(
            f"unknown scale transform {name!r}",
            code="unknown-scale-transform",
            hint=f"one of {', '.join(BY_NAME)}",
        ) from None


_AGREEMENT = 0.01
"""Relative difference of two stds below which it does not matter which of them is meant."""


def agreed(keys: Sequence[str], arrays: Arrays) -> tuple[Transform, str]:
    """The transform of scales whose name leaves it open, where every reading gives the same stds.

    Args:
        keys: the scales that are named alike, so that one answer holds for all of them.
        arrays: the file's arrays.

    Returns:
        The transform, and a note that says what was read and how little it matters.

    Raises:
        UnsupportedError: ``ambiguous-scale-transform``, with the range of stds of each reading.
    """
    # together: one convention wrote them all, and one that is out of range decides for the rest
    values = np.concatenate([to_float64(arrays[key]).reshape(-1) for key in keys])
    # a std is positive; whatever holds another number cannot be one as it stands
    candidates = [SOFTPLUS, EXP, *([IDENTITY] if np.all(values > 0) else [])]
    stds = [transform.forward(values) for transform in candidates]
    with np.errstate(all="ignore"):
        apart = float(np.max(np.max(stds, axis=0) / np.min(stds, axis=0), initial=1.0)) - 1.0
    names = [transform.name for transform in candidates]
    # for rho far below 0, log(1 + exp(rho)) tends to exp(rho): there the name need not tell
    if apart <= _AGREEMENT:
        return SOFTPLUS, (
            f"{keys[0]} and scales named like it are read as softplus; {' or '.join(names)} would "
            f"give the same stds to {100 * apart:.2g} %"
        )
    ranges = [
        f"{name}: σ in [{std.min():.3g}, {std.max():.3g}]"
        for name, std in zip(names, stds, strict=True)
    ]
    more = f" and {len(keys) - 1} more like it" if len(keys) > 1 else ""
    raise UnsupportedError(
        f"{keys[0]}{more} could mean different stds: {'; '.join(ranges)}",
        code="ambiguous-scale-transform",
        hint=f"say which with --scale-transform {' or '.join(names)}",
    )


def constraint_of(tree: Tree, path: Path) -> Mapping[str, Any] | None:
    """The constraint that a store keeps for the parameter at ``path`` (…, "params", name); None if
    there is none.
    """
    # a store is {"params": {name: value}, "constraints": {name: object}}
    if len(path) < 2 or path[-2] != "params":
        return None
    node = at(tree, path[:-2])
    found = node.get("constraints", {}) if isinstance(node, Mapping) else {}
    constraint = found.get(path[-1]) if isinstance(found, Mapping) else None
    return constraint if isinstance(constraint, Mapping) and "__class__" in constraint else None


def stored_transform(tree: Tree, path: Path) -> Transform | None:
    """What a store's constraint says of the scale at ``path``; None outside a store, and for any
    real (a log, a rho).

    A store holds unconstrained values under the names of constrained ones: ``w_scale`` is log or
    softplus^-1 of a std.
    """
    constraint = constraint_of(tree, path)
    # a real is unconstrained: then the parameter's name has to say what is done with it
    if constraint is None or str(constraint["__class__"]).endswith("._Real"):
        return None
    return transform_of(constraint)


def transform_of(constraint: Mapping[str, Any]) -> Transform:
    """The transform from unconstrained value to std that PyTorch and Pyro register for a
    constraint.

    Raises:
        UnsupportedError: ``unknown-constraint``.
    """
    # the name alone decides: what a pickled object of that name would do is never asked
    kind = str(constraint["__class__"]).rsplit(".", 1)[-1]
    if kind == "_SoftplusPositive":
        return SOFTPLUS
    # torch registers exp for it, shifted by the bound; Pyro's softplus is a constraint of its own
    if kind in ("_GreaterThan", "_GreaterThanEq"):
        # the bound may have been pickled as a tensor
        lower = _number(constraint.get("lower_bound", 0.0))
        return EXP if lower == 0.0 else shifted_exp(lower)
    # both share the sigmoid, whose open range contains neither bound
    if kind in ("_Interval", "_HalfOpenInterval"):
        return interval(_number(constraint["lower_bound"]), _number(constraint["upper_bound"]))
    raise UnsupportedError(
        f"a scale with the constraint {kind} is not known",
        code="unknown-constraint",
        hint="name the transform with --scale-transform, if it is one of those",
    )


def _number(value: Any) -> float:
    return float(np.asarray(value))
