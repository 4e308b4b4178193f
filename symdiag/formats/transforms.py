"""Scale parameters as stored ↔ standard deviations. Forward and inverse are accurate over the whole float64 range."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from symdiag.arrays import Array
from symdiag.errors import UsageError


@dataclass(frozen=True)
class Transform:
    """``forward``: stored parameter → std; ``inverse``: std → stored parameter. Both elementwise, float64.

    ``positive`` says that the stored value itself must be > 0 (a std, a variance or a precision).
    """

    name: str
    forward: Callable[[Array], Array]
    inverse: Callable[[Array], Array]
    positive: bool = False


def _quiet(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Let overflow, log 0 and roots of negatives give inf or nan in silence; the caller checks the result."""

    def wrapped(values: Array) -> Array:
        with np.errstate(all="ignore"):
            return function(np.asarray(values, dtype=np.float64))

    return wrapped


def softplus_inverse(std: Array) -> Array:
    """The rho with log(1 + exp(rho)) = std; -inf at 0."""
    return np.asarray(std + np.log(-np.expm1(-std)))


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
        _quiet(lambda rho: lower + width * np.exp(-np.logaddexp(0.0, -rho))),
        _quiet(lambda std: np.log(std - lower) - np.log(upper - std)),
    )


def precision(factor: float | Array, offset: float | Array, name: str) -> Transform:
    """std = (factor * h + offset)^(-1/2): curvature h stored, prior precision in ``offset`` (broadcast to h)."""
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
