"""Collapsed units: units that can go, for the mean function hardly changes without them.

What counts is what a *set* of units contributes together. Each of 400 units may be lost in its own
std and all of them together still carry the whole function: the means add up, the stds add in
squares. Where the forward pass is known the change is measured, in predictive stds, on data or on
standard inputs; where it is not, Cauchy and Schwarz bound it by the signal of all weights that
leave the set,

    (Σ_i μ_i h_i)² ≤ Σ_i (μ_i/σ_i)² · Σ_i σ_i² h_i²,

the change of a pre-activation squared, against the variance that the same weights give it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from symdiag.arrays import Array
from symdiag.diagnostics.function_change import Change, Forward, MomentChange, SampledChange, Units
from symdiag.network import Network
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group, Member, PermutationSpec

MAX_CHANGE = 0.1
"""Largest change of the mean function, in predictive stds (both root mean squares over inputs)."""

MAX_RETENTION = 0.5
"""Three or more units of a group that can go count as collapsed where each is kept less than this.
"""

_TARGET = 0.8 * MAX_CHANGE  # aimed at: on other inputs of the same kind the figure is another one
_WEAK = 0.7  # root mean square of μ/σ on one side, above which no unit is a candidate
_SCALES = (1.0, 3.0)  # of the standard inputs, where there are no data: the limit holds on each
_POINTS = 128
_SAMPLED = 20_000  # weights, beyond which moments are propagated through a chain instead


@dataclass(frozen=True)
class Setting:
    """Where the function is looked at, as far as that is known.

    Attributes:
        forward: The forward pass; None leaves the bound from the weights.
        network: The chain that ``forward`` computes, where it is one.
        inputs: Data (N, ...); None for standard normal inputs, of a chain that takes vectors.
        seed: Seeds inputs and weight draws.
    """

    forward: Forward | None = None
    network: Network | None = None
    inputs: Array | None = None
    seed: int = 0

    def input_sets(self) -> list[Array]:
        """The inputs to look at; none where they are not known."""
        # a stream of its own beside the seed's other uses
        generator = np.random.default_rng([self.seed, 11])
        if self.inputs is not None:
            if len(self.inputs) <= _POINTS:
                return [self.inputs]
            return [self.inputs[generator.choice(len(self.inputs), _POINTS, replace=False)]]
        if self.network is None or not self.network.is_mlp:
            return []
        features = self.network.layers[0].in_features
        return [s * generator.standard_normal((_POINTS, features)) for s in _SCALES]

    def changes(self, posterior: Posterior, spec: PermutationSpec) -> list[Change]:
        """What to ask for the change that switching units off makes; each must be small."""
        if self.forward is None or not (sets := self.input_sets()):
            return []
        chain = self.network if self.network is not None and self.network.is_mlp else None
        if chain is not None and posterior.num_parameters > _SAMPLED and posterior.is_mean_field:
            return [MomentChange(posterior, spec, chain, inputs) for inputs in sets]
        return [SampledChange(posterior, spec, self.forward, x, self.seed) for x in sets]


@dataclass(frozen=True)
class Removable:
    """Units that can go together, and by how much the mean function changes without them.

    ``change`` is in predictive stds: measured with its Monte Carlo error (two standard errors)
        added
    where ``measured``, else a bound.
    """

    units: Units
    change: float
    measured: bool


def removable(
    posterior: Posterior,
    spec: PermutationSpec,
    setting: Setting,
    *,
    among: Units | None = None,
    limit: float = _TARGET,
) -> Removable:
    """The largest set of units found, over all groups, without which the mean function stays.

    Candidates have a side (the tensors on one axis) on which their weights are lost in their stds.
    They are switched off together, weakest first, as many as ``limit`` allows.

    Args:
        posterior: The weights.
        spec: Groups of interchangeable units; members that are no weights do not matter.
        setting: Forward pass and inputs, as far as they are known.
        among: Only these units are candidates.
        limit: Largest change, predictive stds.
    """
    spec = spec.restricted(posterior.loc)
    ranked = _candidates(posterior, spec, among)
    if not ranked:
        return Removable(_masks(spec, ()), 0.0, setting.forward is not None)
    measures = setting.changes(posterior, spec)

    def change(count: int) -> float:
        units = _masks(spec, ranked[:count])
        if not measures:
            return signal_bound(posterior, spec, units)
        found = 0.0
        for measure in measures:
            found = max(found, measure(units, limit))
            # each measure must be small: one that is not settles it
            if found > limit:
                break
        return found

    count, found = _longest(change, len(ranked), limit)
    return Removable(_masks(spec, ranked[:count]), found, bool(measures))


def collapsed(
    posterior: Posterior, spec: PermutationSpec, setting: Setting, retention: Mapping[str, Array]
) -> Removable:
    """Units that can go, and that exchange their labels where more than two of a group might go.

    Args:
        posterior: The weights.
        spec: Groups of interchangeable units.
        setting: Forward pass and inputs, as far as they are known.
        retention: Group name → probability (n,) that a draw leaves the unit its own label.
    """
    among = {group.name: np.ones(group.width, dtype=bool) for group in spec}
    candidates = _candidates(posterior, spec, None)
    for group in spec:
        if sum(name == group.name for name, _ in candidates) > 2:
            among[group.name] = retention[group.name] < MAX_RETENTION
    return removable(posterior, spec, setting, among=among)


def _longest(change: Callable[[int], float], count: int, limit: float) -> tuple[int, float]:
    """The longest prefix within the limit that bisection finds, and its change."""
    found = change(count)
    if found <= limit:
        return count, found
    low, high, best = 0, count, 0.0
    while high - low > 1:  # low is within the limit, high is not
        middle = (low + high) // 2
        found = change(middle)
        if found <= limit:
            low, best = middle, found
        else:
            high = middle
    return low, best


def _candidates(
    posterior: Posterior, spec: PermutationSpec, among: Units | None
) -> list[tuple[str, int]]:
    """(group, unit) of every unit that is weak on one side, the weakest first."""
    found = []
    for group in spec:
        if group.width < 2:
            continue
        weakest = np.min([rms for rms, _ in _sides(posterior, group)], axis=0)  # (n,)
        for unit in np.flatnonzero(weakest < _WEAK):
            if among is None or among[group.name][unit]:
                found.append((float(weakest[unit]), group.name, int(unit)))  # noqa: PERF401
    return [(name, unit) for _, name, unit in sorted(found)]


def weak_units(posterior: Posterior, group: Group, below: float = 0.5) -> NDArray[np.bool_]:
    """Units (n,) with a side on which the root mean square of μ/σ is below a limit.

    A hint of collapse from the weights alone, one unit at a time: together they may matter.
    """
    return np.asarray(np.min([rms for rms, _ in _sides(posterior, group)], axis=0) < below)


def signals(posterior: Posterior, group: Group, network: Network | None) -> Array:
    """Root mean square of μ/σ over the random weights into each unit and out of it, (n, 2).

    Matrices only, as for ``weak_units``; nan where a side has no random weight.
    """
    # the chain says which weights are stored (in, out); all else we read is (out, in)
    in_out = {layer.weight for layer in network.layers if layer.in_out} if network else set()
    squares, counts = np.zeros((2, group.width, 2))
    for member in group.members:
        if not _is_matrix(posterior, member):
            continue
        made = int(member.tensor in in_out)  # the axis of the units that the weights make
        loc, scale = (
            blocks(source[member.tensor], member, group.width)
            for source in (posterior.loc, posterior.scale)
        )  # (n, D)
        random = scale > 0
        ratio = np.divide(loc, scale, out=np.zeros_like(loc), where=random)
        side = 0 if member.axis == made else 1
        squares[:, side] += (ratio**2).sum(axis=1)
        counts[:, side] += random.sum(axis=1)
    means = np.divide(squares, counts, out=np.full_like(squares, np.nan), where=counts > 0)
    return np.asarray(np.sqrt(means))


def strongest(posterior: Posterior, group: Group) -> int:
    """The unit whose weaker side carries most."""
    return int(np.min([rms for rms, _ in _sides(posterior, group)], axis=0).argmax())


def _masks(
    spec: PermutationSpec, chosen: Sequence[tuple[str, int]]
) -> dict[str, NDArray[np.bool_]]:
    masks = {group.name: np.zeros(group.width, dtype=bool) for group in spec}
    for name, unit in chosen:
        masks[name][unit] = True
    return masks


def _sides(posterior: Posterior, group: Group) -> Iterator[tuple[Array, Array]]:
    """Per side of the units, on all its entries: root mean square and sum of (μ/σ)², (n,) each.

    A side is one axis of one matrix: the weights that enter the units, or those that leave them.
    Biases and scales of norms tell nothing: a unit that is off may well have a large bias. A
    deterministic weight other than 0 is infinitely sure.
    """
    members = [m for m in group.members if _is_matrix(posterior, m)] or list(group.members)
    for place in dict.fromkeys((m.tensor, m.axis) for m in members):
        parts = [m for m in members if (m.tensor, m.axis) == place]
        loc, scale = (
            np.concatenate([blocks(source[m.tensor], m, group.width) for m in parts], axis=1)
            for source in (posterior.loc, posterior.scale)
        )  # (n, D)
        # 0 / 0: a weight that is surely 0 carries no signal
        ratio = np.divide(loc, scale, out=np.where(loc == 0, 0.0, np.inf), where=scale > 0)
        yield np.sqrt((ratio**2).mean(axis=1)), (ratio**2).sum(axis=1)


def _is_matrix(posterior: Posterior, member: Member) -> bool:
    """Whether the tensor connects layers: two axes or more, and not a bias stored as (1, n)."""
    return posterior.loc[member.tensor].ndim >= 2 and "bias" not in member.tensor.rsplit(".", 1)[-1]


def signal_bound(posterior: Posterior, spec: PermutationSpec, units: Units) -> float:
    """√Σ(μ/σ)² of the weights on either side of the set: bounds the change where no forward pass
    is.

    Which side leaves the units is not known from the spec, so the stronger side of each group
    counts: with nothing to tell on both, neither constants nor functions pass through. First order
    in the change beyond the next layer.
    """
    total = sum(
        max(float(energy[units[group.name]].sum()) for _, energy in _sides(posterior, group))
        for group in spec
    )
    return float(np.sqrt(total))


def blocks(array: Array, member: Member, width: int) -> Array:
    """A member's entries by unit, (n, D)."""
    # (outer · width · inner, rest): the member's axis first, cut to its own range
    moved = np.moveaxis(array, member.axis, 0)[member.span(width)]
    split = moved.reshape(member.outer, width, member.inner, -1)
    return np.moveaxis(split, 1, 0).reshape(width, -1)
