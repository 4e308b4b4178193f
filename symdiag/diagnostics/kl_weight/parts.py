"""The weight of the KL tensor by tensor, and whether one factor fits all that tell."""

from __future__ import annotations

import math

import numpy as np

from symdiag.arrays import Array
from symdiag.diagnostics.kl_weight.gradients import Gradients
from symdiag.diagnostics.kl_weight.regression import Slope, robust_slope
from symdiag.diagnostics.kl_weight.result import Part

_APART = 0.25  # of log T, by which tensors of one weight may differ before they settle
_LEAST_OF_TENSOR = 3.0
_SMALL_ERROR = 0.1  # relative, below which a handful of weights may tell
_LEAST_PULL = 0.02  # RMS over a tensor: no optimiser settles stds to a percent of the prior's


def by_tensor(gradients: Gradients) -> tuple[Part, ...]:
    """Tensor by tensor, the weight of its own KL, whatever the convention."""
    found = []
    for index, name in enumerate(gradients.names):
        own = gradients.take(gradients.tensor == index)
        # a layer that has fallen back on the prior: both sides are what the optimiser last shook
        back = np.linalg.norm(own.kl_log_std) < _LEAST_PULL * math.sqrt(len(own.kl_log_std))
        slope = robust_slope(own.kl_log_std, own.fit_log_std, own.fit_log_std_error)
        found.append(part_of(name, None if back else slope, 1.0))
    return tuple(found)


def with_small(gradients: Gradients, layers: tuple[Part, ...]) -> tuple[Part, ...]:
    """The same, where tensors too small for a regression tell what their few weights measure to a tenth.

    The bias of a single output is one weight, and may be all that tells averages within tensors
    from a sum: 1-20-1 has three tensors of 20.
    """
    found = []
    for index, part in enumerate(layers):
        own = gradients.take(gradients.tensor == index)
        x, y, error = own.kl_log_std, own.fit_log_std, own.fit_log_std_error
        power = float((x**2).sum())
        if tells(part) or power <= _LEAST_PULL**2 * len(x):
            found.append(part)
            continue
        value, spread = float((x * y).sum()) / power, float(np.linalg.norm(x * error)) / power
        known = value > 0.0 and spread < _SMALL_ERROR * value
        found.append(Part(part.name, value, spread, _LEAST_OF_TENSOR) if known else part)
    return tuple(found)


def part_of(name: str, slope: Slope | None, share: float) -> Part:
    """``slope`` times ``share``, without a value where hardly any weight tells."""
    if slope is None or slope.informative < 1.0:
        return Part(name, None, math.inf, 0.0 if slope is None else slope.informative)
    return Part(name, slope.slope * share, slope.error * share, slope.informative)


def tells(part: Part) -> bool:
    """Whether its value is to be counted when tensors are compared."""
    known = part.value is not None and part.value > 0.0
    return known and part.informative >= _LEAST_OF_TENSOR


def span(layers: tuple[Part, ...], share: Array) -> float:
    """By how much the factors of tensors that tell differ: largest over smallest."""
    told = [share[index] for index, part in enumerate(layers) if tells(part)]
    return float(max(told) / min(told)) if told else 1.0


def agree(layers: tuple[Part, ...], share: Array) -> bool:
    """Whether all tensors that tell have one factor, up to their errors, on these shares."""
    told = [
        (math.log(part.value / share[index]), part.std_error / part.value)
        for index, part in enumerate(layers)
        if part.value is not None and tells(part)
    ]
    return all(
        abs(one - other) <= _APART + 2.0 * math.hypot(error, error_of_other)
        for one, error in told
        for other, error_of_other in told
    )
