"""A symmetry is never assumed: random group elements must leave the network's outputs unchanged."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from symdiag.posterior import Posterior
from symdiag.symmetry.elements import Element, act, generators
from symdiag.symmetry.spec import Group, PermutationSpec

FloatArray = NDArray[np.floating]
ForwardFn = Callable[[Mapping[str, FloatArray], Mapping[str, FloatArray]], FloatArray]
"""``(weights, buffers) → outputs`` on fixed inputs of the caller's choice, float64, any shape."""

TOLERANCE = 1e-9
"""Largest accepted change of an output, relative to the outputs' spread: rounding of float64 sums,
with room.
"""


_SAME_PRIOR = 1e-6
"""Entries of a prior that differ by less, relatively, are one number stored in single precision."""


@dataclass(frozen=True)
class Failure:
    """A group whose elements change the outputs: ``error`` relative to the outputs' size, above
    ``tolerance``.
    """

    group: str
    error: float
    tolerance: float

    @property
    def message(self) -> str:
        """One line for a finding."""
        if math.isinf(self.error):
            return f"{self.group}: its elements do not fit the tensors or give non-finite outputs"
        return f"{self.group}: outputs change by {self.error:.2g} (relative), more than {self.tolerance:.0e}"


@dataclass(frozen=True)
class Verification:
    """The part of a spec that was seen to hold, and the groups that were dropped."""

    kept: PermutationSpec
    failures: tuple[Failure, ...]


def verify(
    spec: PermutationSpec,
    posterior: Posterior,
    forward_fn: ForwardFn,
    generator: np.random.Generator,
    *,
    tolerance: float = TOLERANCE,
) -> Verification:
    """Apply random elements of each group to means and buffers together and compare outputs.

    A signed group whose flips fail but whose permutations hold is kept unsigned, and the failure
    recorded. Means that coincide or vanish (pruned units) could hide a broken symmetry, which is a
    matter of the architecture alone, so random weights of the same shapes take their place.

    Args:
        spec: the groups to check, one at a time.
        posterior: supplies names, shapes and buffers.
        forward_fn: outputs for given weights and buffers, on inputs that exercise the network.
        generator: source of the random elements and weights.
        tolerance: largest relative change of outputs that counts as rounding.

    Returns:
        The groups that held, and the failures.
    """
    weights, buffers = _generic(posterior.loc, generator), _statistics(posterior.buffers, generator)
    reference = np.asarray(forward_fn(weights, buffers), dtype=np.float64)

    def error(group: Group, element: Element) -> float:
        one = PermutationSpec((group,))
        try:
            moved = {kind: act(one, {group.name: element}, arrays) for kind, arrays in both.items()}
        # a hand-written spec may name axes that the network's tensors lack: a failure, not a crash
        except (ValueError, IndexError):
            return math.inf
        return _relative_change(reference, forward_fn(moved["weights"], moved["buffers"]))

    both: dict[str, Mapping[str, FloatArray]] = {"weights": weights, "buffers": buffers}
    kept: list[Group] = []
    failures: list[Failure] = []
    for group in spec:
        holds, failure = _check(group, error, generator, tolerance)
        kept += [holds] if holds else []
        failures += [failure] if failure else []
    return Verification(PermutationSpec(tuple(kept), spec.notes), tuple(failures))


def _check(
    group: Group,
    error: Callable[[Group, Element], float],
    generator: np.random.Generator,
    tolerance: float,
) -> tuple[Group | None, Failure | None]:
    """The group as far as it holds, and its failure."""
    # generators generate: a function unchanged by them is unchanged
    # by the group; the random one is a check on the check
    swap, cycle, *flips = generators(group)
    moved = Element(generator.permutation(group.width), np.ones(group.width))
    worst = max(error(group, element) for element in (cycle, swap, moved))
    # permutations first: flips mean nothing for units that cannot even be reordered
    if worst > tolerance:
        return None, Failure(group.name, worst, tolerance)
    if not group.signed:
        return group, None
    signs = generator.choice(np.array([-1.0, 1.0]), size=group.width)
    flips.append(Element(np.arange(group.width), signs))
    worst = max(error(group, element) for element in flips)
    if worst > tolerance:
        unsigned = Group(group.name, group.width, group.members, signed=False)
        return unsigned, Failure(f"{group.name} (sign flips)", worst, tolerance)
    return group, None


def _generic(
    arrays: Mapping[str, FloatArray], generator: np.random.Generator
) -> dict[str, FloatArray]:
    """Random weights of ordinary size in place of the means. Equal tensors stay equal: they may be
    one parameter.
    """
    drawn: dict[bytes, FloatArray] = {}
    result: dict[str, FloatArray] = {}
    for name, array in arrays.items():
        key = str(array.shape).encode() + hashlib.blake2b(np.ascontiguousarray(array).data).digest()
        if key not in drawn:
            drawn[key] = _ordinary(array.shape, generator)
        result[name] = drawn[key]
    return result


def _ordinary(shape: tuple[int, ...], generator: np.random.Generator) -> FloatArray:
    """Gaussian entries that neither blow up nor fade from layer to layer, whichever axis holds the
    inputs.
    """
    size = math.prod(shape)
    fan = size / math.sqrt(shape[0] * shape[1]) if len(shape) > 1 and size else 2.0
    # He's scale on the geometric mean of both fans:
    # right up to a constant for (out, in) and (in, out)
    return generator.standard_normal(shape) * math.sqrt(2.0 / fan)


def _statistics(
    buffers: Mapping[str, FloatArray], generator: np.random.Generator
) -> dict[str, FloatArray]:
    """Random positive running statistics; other buffers (masks, encodings) are part of the function
    and stay.
    """
    # away from 0: a variance near it would amplify rounding past the tolerance
    return {
        name: generator.uniform(0.5, 1.5, value.shape) if "running_" in name else value
        for name, value in buffers.items()
    }


def _relative_change(reference: FloatArray, outputs: FloatArray) -> float:
    outputs = np.asarray(outputs, dtype=np.float64)
    if outputs.shape != reference.shape or not (
        np.isfinite(outputs).all() and np.isfinite(reference).all()
    ):
        return math.inf
    # outputs that are all zero show nothing: infinite, so that no group passes by default
    scale = float(np.abs(reference).max())
    return float(np.abs(outputs - reference).max()) / scale if scale > 0 else math.inf


def prior_violations(spec: PermutationSpec, posterior: Posterior) -> tuple[tuple[str, str], ...]:
    """``(tensor, group)`` for every tensor whose stored prior changes under the group; empty
    without a stored prior.

    Generators suffice: a transposition, a cycle, and one sign flip for signed groups.
    """
    if posterior.prior is None:
        return ()
    shapes = posterior.shapes
    parts = [
        # a prior stored as one number per tensor is invariant, once it has the tensor's shape
        ({n: np.broadcast_to(v, shapes[n]) for n, v in stored.items() if n in shapes}, flip)
        for stored, flip in posterior.prior.arrays()
    ]
    found: list[tuple[str, str]] = []
    for group in spec:
        one = PermutationSpec((group,))
        for element in generators(group):
            for arrays, flip in parts:
                mine = {name: arrays[name] for name in group.tensors if name in arrays}
                moved = act(one, {group.name: element}, mine, flip=flip)
                found += [(n, group.name) for n in mine if not _equal(mine[n], moved[n])]
    return tuple(dict.fromkeys(found))


def _equal(before: np.ndarray, after: np.ndarray) -> bool:
    return bool(
        np.allclose(
            before,
            after,
            rtol=_SAME_PRIOR,
            # relative to the largest entry: zeros among the means would forgive nothing
            atol=_SAME_PRIOR * float(np.abs(before).max(initial=0.0)),
        )
    )
