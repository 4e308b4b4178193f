"""How many draws sit in another labelling than most, and what that does to their moments and to
R-hat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from symdiag.arrays import Array
from symdiag.symmetry.elements import Action, Element
from symdiag.symmetry.spec import Group, PermutationSpec

MIN_DRAWS_FOR_MODES = 20
"""Fewer draws than this look like two clusters too easily."""


@dataclass(frozen=True)
class GroupSwitching:
    """Label switching within one group.

    ``off``: fraction of draws off the group's majority labelling; ``labellings``: how many
        different ones were seen.
    ``units_moved``, ``units_flipped``: per unit of the majority labelling, the fraction of draws in
        which another
    unit has its place, or in which it is there with its sign changed.
    """

    group: Group
    off: float
    labellings: int
    units_moved: tuple[float, ...]
    units_flipped: tuple[float, ...]


@dataclass(frozen=True)
class Switching:
    """The same for all groups together (a labelling is then one element per group)."""

    off: float
    labellings: int
    groups: tuple[GroupSwitching, ...]


def centred(actions: Sequence[Action]) -> list[dict[str, Element]]:
    """Actions followed by the inverse of each group's most frequent one: most draws then stay as
    they are.
    """
    result: list[dict[str, Element]] = [dict(action) for action in actions]
    for name in actions[0]:
        majority = _most_frequent([action[name] for action in actions]).inverse()
        for action in result:
            action[name] = action[name].compose(majority)
    return result


def switching(actions: Sequence[Action], spec: PermutationSpec) -> Switching:
    """Counts over the centred actions of all draws."""
    keys = [tuple(_key(action[group.name]) for group in spec) for action in actions]
    groups = tuple(_group(group, [action[group.name] for action in actions]) for group in spec)
    return Switching(_off(keys), len(set(keys)), groups)


def _group(group: Group, elements: Sequence[Element]) -> GroupSwitching:
    keys = [_key(element) for element in elements]
    home = np.arange(group.width)
    moved = np.array([e.permutation != home for e in elements])  # (S, n)
    # a flipped unit in another's place counts as moved: the two fractions do not overlap
    flipped = np.array([e.signs < 0 for e in elements]) & ~moved
    return GroupSwitching(
        group=group,
        off=_off(keys),
        labellings=len(set(keys)),
        units_moved=tuple(moved.mean(axis=0).tolist()),
        units_flipped=tuple(flipped.mean(axis=0).tolist()),
    )


def _key(element: Element) -> bytes:
    return element.permutation.astype(np.int64).tobytes() + (element.signs < 0).tobytes()


def _most_frequent(elements: Sequence[Element]) -> Element:
    keys = [_key(element) for element in elements]
    return elements[keys.index(Counter(keys).most_common(1)[0][0])]


def _off(keys: Sequence[object]) -> float:
    return 1.0 - Counter(keys).most_common(1)[0][1] / len(keys)


def variance_sum(draws: Array) -> float:
    """Variance over draws (ddof 1), summed over weights: (S, *shape) → number. 0 for a single draw."""
    return float(draws.var(axis=0, ddof=1).sum()) if len(draws) > 1 else 0.0


@dataclass(frozen=True)
class Rhat:
    """Split R-hat over weights: largest, median, and the fraction of weights above 1.01 (Gelman et
    al. 2013, 11.4).
    """

    worst: float
    median: float
    above: float


def split_rhat(draws: Mapping[str, Array], chains: int) -> Rhat | None:
    """R-hat of draws (C·N, *shape), chain after chain, each chain split in half; weights that never
    vary are left out.

    None where half a chain holds fewer than two draws, or nothing varies.
    """
    flat = np.concatenate([v.reshape(len(v), -1) for v in draws.values()], axis=1)
    # an odd draw in the middle is left out, so that both halves are equally long
    half = len(flat) // chains // 2
    if half < 2:
        return None
    by_chain = flat.reshape(chains, -1, flat.shape[1])
    # halves as chains of their own: a chain that drifts then disagrees with itself
    halves = np.concatenate([by_chain[:, :half], by_chain[:, -half:]])  # (2C, half, D)
    within = halves.var(axis=1, ddof=1).mean(axis=0)
    between = halves.mean(axis=1).var(axis=0, ddof=1)
    # not by the variance, which rounding of the mean leaves above 0 where all draws are one number
    varies = np.ptp(flat, axis=0) > 0
    if not varies.any():
        return None
    with np.errstate(divide="ignore"):
        # no variance within and some between: infinite, and rightly reported as worst
        rhat = np.sqrt((half - 1) / half + between[varies] / within[varies])
    return Rhat(float(rhat.max()), float(np.median(rhat)), float((rhat > 1.01).mean()))


def two_mode_share(draws: Mapping[str, Array]) -> float | None:
    """Share of the variance along the main direction of the standardised draws that a split in two
    explains.

    0.64 for a Gaussian, 0.75 for a uniform, near 1 for two separate clusters. None for fewer than
    20 draws.
    """
    flat = np.concatenate([v.reshape(len(v), -1) for v in draws.values()], axis=1)
    flat = flat[:, np.ptp(flat, axis=0) > 0]
    if len(flat) < MIN_DRAWS_FOR_MODES or flat.shape[1] == 0:
        return None
    standard = (flat - flat.mean(axis=0)) / flat.std(axis=0)
    return _best_split(np.sort(_main_direction(standard)))


def _main_direction(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coordinates of the rows (S, D) along their first principal component, by the smaller of the
    two Gram matrices.
    """
    # R Rᵀ and Rᵀ R share their eigenvalues: the smaller of the two is decomposed
    wide = rows.shape[1] > len(rows)
    gram = rows @ rows.T if wide else rows.T @ rows
    last = len(gram) - 1
    vector: NDArray[np.float64] = eigh(gram, subset_by_index=[last, last])[1][:, 0]
    return vector if wide else rows @ vector


def _best_split(ordered: NDArray[np.float64]) -> float:
    """Largest share of the variance of sorted numbers that lies between their lower and upper part."""
    size = len(ordered)
    centre = ordered - ordered.mean()
    count = np.arange(1, size)
    below = np.cumsum(centre)[:-1]
    # n₁n₂/n (m₁ − m₂)² of every cut at once, from the running sum of centred values
    between = below**2 * (1.0 / count + 1.0 / (size - count))
    return float(between.max() / (centre**2).sum())
