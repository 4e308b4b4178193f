"""The straddling entropy of a group that acts on two axes of one tensor, as a term of a loss.

Recurrent weights, and square matrices between units of one residual stream, have no permanent. The
gradient needs none: with r(g) = q(gω)/q(ω),

    ∂ E log Σ_g r(g) = E E_{g | ω} ∂ log r(g),    p(g | ω) ∝ q(gω),

and g | ω can be sampled for any group. Under ω ~ q the identity is an exact draw up to relabelling,
so a chain that starts there has to forget only which draw it started from (docs/theory/estimators.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from scipy.special import logsumexp
from torch import Tensor

from symdiag.arrays import Array, BoolArray, IntArray, SeedArray
from symdiag.errors import UnsupportedError, UsageError
from symdiag.objectives._element_loop import element_loop
from symdiag.objectives._moments import Moments, Slots, gradients
from symdiag.objectives._straddling import TermGradients, own_seeds, straddling
from symdiag.objectives.group_term import GroupTerm
from symdiag.objectives.variational import Layout, Variational
from symdiag.symmetry.spec import Group, Member
from symdiag.workers import Share

_Codes: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.uint64]]

_FEWEST_STEPS = 1600
_ALL_DRAWS_UP_TO = 64  # units up to which a gradient uses every draw of a step
_FEWEST_DRAWS = 4


def group_term(
    group: Group, q: Variational, marginals: str = "auto", *, value_every: int = 1
) -> GroupTerm | ElementTerm:
    """The term of one group: by permanents where it has one, by elements of the group elsewhere."""
    if group.is_matrix_permanent:
        return GroupTerm(group, q, marginals, value_every=value_every)
    return ElementTerm(group, q, marginals, value=value_every > 0)


class ElementTerm:
    """H(g|ω) of one group as a differentiable function of the flat vectors μ, σ and draws.

    Args:
        group: Any group that acts on at most two axes of a tensor.
        q: Weights laid out as the vectors will be.
        marginals: ``auto`` or ``mcmc``; there are no others here.
        value: Whether values are wanted beside the gradient.

    Raises:
        UnsupportedError: ``not-a-permanent``: three axes of one tensor.
        UsageError: ``bad-option``: marginals that only permanents have.
    """

    def __init__(
        self, group: Group, q: Variational, marginals: str = "auto", *, value: bool = True
    ) -> None:
        if marginals not in ("auto", "mcmc"):
            raise UsageError(
                f"marginals '{marginals}' need a permanent, and group {group.name} acts on two axes of "
                "one tensor",
                code="bad-option",
                hint="Leave --marginals out.",
            )
        self.group, self._value = group, value
        places, self._units = _located(group, q.layout)
        # (1, P): one block of all its weights, for what blocks do the same elementwise
        self.index = torch.from_numpy(places)[None].to(q.loc.device)
        keys = np.random.default_rng(11).integers(1, 1 << 63, (group.width, group.width, 2))
        self._keys = keys.astype(np.uint64)

    def __call__(
        self,
        loc: Tensor,
        scale: Tensor,
        draws: Tensor,
        generator: np.random.Generator,
        share: Share | None = None,
    ) -> Tensor:
        """Mean over draws (S, D) of log Σ_g q(gω)/q(ω), nats, with its gradient.

        The value sums over the elements that the chain came by, hence is a lower bound for every
        draw; 0 where none is wanted.
        """
        return straddling(loc, scale, draws, self, generator, share)

    def evaluate(
        self,
        loc: Tensor,
        scale: Tensor,
        draws: Tensor,
        generator: np.random.Generator,
        share: Share | None = None,
    ) -> TermGradients:
        """Value and gradients without autograd: by μ (1, P), by σ (1, P), by the draws used."""
        std = scale[self.index].double()
        share = share or Share(len(draws))
        count = self.draws_used(share.total, share.world)
        used = draws[: share.here(count)]
        slots = Slots.of(loc[self.index].double(), std, used[:, self.index].double())
        value, found = self._moments(slots, own_seeds(generator, count, share))
        return TermGradients(value, self.index, *gradients(slots, std, found))

    def tensors(self) -> dict[str, Tensor]:
        """Nothing to save: a call depends on its arguments only."""
        return {}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Nothing to go on from."""

    def draws_used(self, count: int, world: int = 1) -> int:
        """How many of ``count`` draws the term looks at: all, fewer of wide groups in training.

        One for each of ``world`` processes at least: none would be done sooner without.
        """
        if self._value:
            return count
        fewest = max(_FEWEST_DRAWS, world)
        return min(count, max(fewest, round(count * _ALL_DRAWS_UP_TO / self.group.width)))

    def _moments(self, slots: Slots, seeds: SeedArray) -> tuple[Tensor, Moments]:
        """Mean value over the draws, and the moments that the gradient needs."""
        n, x = self.group.width, slots.x[:, 0].cpu().numpy()  # (S, P)
        steps = max(_FEWEST_STEPS, (1 + self.group.signed) * n * n)
        burn = steps // 2
        count, size = x.shape
        first, second = np.zeros(size), np.zeros(size)
        pulled, pulled_half = np.zeros(x.shape), np.zeros(x.shape)
        visited = np.zeros((count, steps) if self._value else (0, 0), dtype=np.uint64)
        ratios = np.zeros(visited.shape)
        looks = element_loop(
            self._units.single,
            self._units.double,
            self._units.flips,
            self._units.flips_rows,
            self._units.flips_columns,
            self.group.signed,
            slots.weighted_mean[0].cpu().numpy(),
            0.5 * slots.precision[0].cpu().numpy(),
            slots.mean[0].cpu().numpy(),
            np.ascontiguousarray(x),
            seeds,
            steps,
            burn,
            self._keys,
            first,
            second,
            pulled,
            pulled_half,
            visited,
            ratios,
        )
        identity = np.bitwise_xor.reduce(self._keys[range(n), range(n), 0])
        sums = [_visited_sum(*row, identity) for row in zip(visited, ratios, strict=True)]

        def tensor(array: Array, axis: int, factor: float) -> Tensor:
            return torch.from_numpy(np.expand_dims(array * factor, axis)).to(slots.x)

        found = Moments(
            tensor(first, 0, 1.0 / (looks * count)),  # (1, P)
            tensor(second, 0, 1.0 / (looks * count)),
            tensor(pulled, 1, 1.0 / looks),  # (S, 1, P)
            tensor(pulled_half, 1, 2.0 / looks),
        )
        return slots.x.new_tensor(float(np.mean(sums)) if sums else 0.0), found


def _visited_sum(codes: _Codes, ratios: Array, identity: np.uint64) -> float:
    """log of 1 + Σ of r over the distinct elements met beside the identity, whose r is 1."""
    codes, index = np.unique(codes, return_index=True)
    others = ratios[index[codes != identity]]
    return float(np.logaddexp(0.0, logsumexp(others))) if len(others) else 0.0


@dataclass(frozen=True)
class _Units:
    """Places of the group's weights by unit, as positions among them.

    ``single`` (n, D): of unit a; ``double`` (n, n, E): of units a (rows) and b (columns). ``flips``
    say which entries the sign of a unit negates.
    """

    single: IntArray
    double: IntArray
    flips: BoolArray  # (D,)
    flips_rows: BoolArray  # (E,)
    flips_columns: BoolArray  # (E,)


def _located(group: Group, layout: Layout) -> tuple[IntArray, _Units]:
    """Flat positions (P,) of the group's weights, and where each unit's stand among them."""
    n = group.width
    positions = {k: v.numpy() for k, v in layout.split(torch.arange(layout.size)).items()}
    single: list[tuple[IntArray, bool]] = []
    double: list[tuple[IntArray, bool, bool]] = []
    for name in group.tensors:
        members = [m for m in group.members if m.tensor == name]
        axes = sorted({m.axis for m in members})
        if len(axes) > 2:
            raise UnsupportedError(
                f"group {group.name} acts on {len(axes)} axes of {name}: its straddling entropy has no "
                "gradient here",
                code="not-a-permanent",
                hint="Train with --objective elbo.",
            )
        array = np.moveaxis(positions[name], axes, range(len(axes)))
        rows, no_rows = _slices([m for m in members if m.axis == axes[0]], array.shape[0], n)
        if len(axes) == 1:
            single += [(array[index].reshape(n, -1), flip) for index, flip in rows]
            continue
        columns, no_columns = _slices([m for m in members if m.axis == axes[1]], array.shape[1], n)
        turned = array.swapaxes(0, 1)
        # what only one of the two axes moves (inputs beside a cell's own state) is a block as usual
        single += [(array[i][:, no_columns].reshape(n, -1), flip) for i, flip in rows]
        single += [(turned[i][:, no_rows].reshape(n, -1), flip) for i, flip in columns]
        double += [(array[i][:, j].reshape(n, n, -1), f, g) for i, f in rows for j, g in columns]
    blocks = [block for block, _ in single] or [np.zeros((n, 0), dtype=np.int64)]
    pairs = [block for block, *_ in double] or [np.zeros((n, n, 0), dtype=np.int64)]
    places = np.concatenate([np.concatenate(blocks, 1).ravel(), np.concatenate(pairs, 2).ravel()])
    size = sum(block.shape[1] for block in blocks)
    order = np.arange(len(places))

    def spread(signs: Sequence[tuple[IntArray, bool]]) -> BoolArray:
        return np.concatenate([np.full(b.shape[-1], f) for b, f in signs] or [np.zeros(0, bool)])

    units = _Units(
        order[: n * size].reshape(n, size),
        order[n * size :].reshape(n, n, -1),
        spread(single),
        spread([(block, f) for block, f, _ in double]),
        spread([(block, g) for block, _, g in double]),
    )
    return places, units


def _slices(
    members: Sequence[Member], length: int, width: int
) -> tuple[list[tuple[IntArray, bool]], IntArray]:
    """Along one axis: the positions of the units (n,), once for each entry a unit has, with whether
    a flip negates it; and the positions of no unit.
    """
    along, found = np.arange(length), []
    for member in members:
        own = along[member.span(width)].reshape(member.outer, width, member.inner)
        found += [
            (own[o, :, i], member.flips) for o in range(member.outer) for i in range(member.inner)
        ]
    taken = np.concatenate([index for index, _ in found])
    return found, np.setdiff1d(along, taken)
