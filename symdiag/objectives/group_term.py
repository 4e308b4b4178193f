"""The straddling entropy of one group as a term of a loss, with the permanent's own gradient.

For one group H = E log perm(exp A), and ∂ log perm/∂θ = Σ_ij P_ij ∂A_ij/∂θ with the permanental
marginals P. Summing over j first, the gradient needs only the moments (P x)_i and (P x²)_i of the
draws that slot i may hold,

    Σ_ij P_ij A_ij = −½ Σ_i [ (P x²)_i − 2 μ_i (P x)_i + μ_i² ] / σ_i²
                     + ½ Σ_i (x_i − μ_i)² / σ_i²

(the log σ terms cancel because P is doubly stochastic). They come from P itself, a handful of
matrix products, or, where a unit has few weights, straight from a swap chain that forms no matrix.
With sign flips the first moment takes the difference of the kept and the flipped share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from symdiag.arrays import Array, IntArray, SeedArray
from symdiag.errors import UnsupportedError, UsageError
from symdiag.estimators.densities import SlotDensity, unit_blocks
from symdiag.objectives._moments import Moments, Slots, gradients, matrix_moments
from symdiag.objectives._partners import Partners
from symdiag.objectives._straddling import TermGradients, own_seeds, straddling
from symdiag.objectives.variational import Variational
from symdiag.permanents import (
    Effort,
    GaussianSlots,
    bethe_functional,
    default_proposals,
    exact_log_permanent,
    exact_marginals,
    marginals,
    swap_marginals,
    swap_moments,
    typical_log_permanents,
)
from symdiag.symmetry.spec import Group
from symdiag.workers import Share

Marginals = Callable[[Array, SeedArray], tuple[Array, Array]]
"""(log weights (B, n, n), seeds (B,)) → (log-permanents or bounds (B,), marginals (B, n, n))."""

EXACT_LIMIT = 10  # widest group that ``auto`` evaluates exactly at every step
_FEW_WEIGHTS = 64  # weights a unit up to which a chain works out densities as it goes
_ALL_DRAWS_UP_TO = 128  # units up to which a gradient uses every draw of a step
_FEWEST_DRAWS = 4
_FEWEST_OF_MATRICES = 2  # where a draw costs matrix products of many weights


def _exact(log_weights: Array, seeds: SeedArray) -> tuple[Array, Array]:
    return exact_marginals(log_weights)


def _bethe(log_weights: Array, seeds: SeedArray) -> tuple[Array, Array]:
    found = marginals(
        log_weights,
        generator=np.random.default_rng(seeds),
        method="bethe",
        effort=Effort(max_exact=8),
    ).probabilities
    return bethe_functional(log_weights, found), found


# mcmc is the term's own business: it keeps tables of partners, and needs no matrix
_METHODS: dict[str, Marginals | None] = {"exact": _exact, "mcmc": None, "bethe": _bethe}
MARGINALS = ("auto", *_METHODS)
"""Ways to get permanental marginals; ``auto`` is exact up to width ``EXACT_LIMIT``, else mcmc."""


def _resolved(method: str, width: int) -> str:
    """The way called ``method`` for ``width`` units, ``auto`` decided."""
    if method == "auto":
        method = "exact" if width <= EXACT_LIMIT else "mcmc"
    if method not in _METHODS:
        raise UsageError(
            f"unknown marginals '{method}'",
            code="bad-option",
            hint=f"Choose one of: {', '.join(MARGINALS)}.",
        )
    return method


@dataclass(frozen=True)
class _Blocks:
    """Where the units of one group sit in the flat weight vector.

    ``index`` (n, D); ``sign`` (D,) is −1 on entries that a flip negates, which come first;
    ``allowed`` (n, n) per sign choice, None when no deterministic weight forbids an exchange.
    """

    index: Tensor
    sign: Tensor
    allowed: tuple[Tensor | None, ...]


class GroupTerm:
    """H(g|ω) of one group as a differentiable function of the flat vectors μ, σ and draws.

    Args:
        group: The group; it must not act on two axes of one tensor.
        q: Weights laid out as the vectors will be.
        marginals: One of ``MARGINALS``.
        value_every: Calls between two values of a sampled group, which cost far more than its
            gradient; the last one is returned in between, and 0 without any.

    Groups that are sampled and wider than 128 units use fewer draws than they are given: what a
    short chain forgets too little biases the gradient, while noise averages out over steps.
    """

    def __init__(
        self, group: Group, q: Variational, marginals: str = "auto", *, value_every: int = 1
    ) -> None:
        if not group.is_matrix_permanent:
            raise UnsupportedError(
                f"group {group.name} acts on two axes of one tensor: there is no permanent form",
                code="not-a-permanent",
            )
        self.group = group
        self.blocks = _locate(group, q)
        self._marginals = _METHODS[_resolved(marginals, group.width)]
        self._partners = Partners(group.width) if self._marginals is None else None
        self._value_every, self._value = value_every, 0.0

    def __call__(
        self,
        loc: Tensor,
        scale: Tensor,
        draws: Tensor,
        generator: np.random.Generator,
        share: Share | None = None,
    ) -> Tensor:
        """Mean over draws (S, D) of log perm(exp A), nats, with the permanent's gradient.

        The value is exact where the marginals are, with ``bethe`` the Bethe functional, a lower
        bound, and where they are sampled an estimate whose mean is a lower bound (sequential Monte
        Carlo), that of the last call that made one. ``share`` tells which draws these are of those
        that several processes have.
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
        """Value and gradients without autograd: by μ (n, D), by σ (n, D), by the draws used."""
        index = self.blocks.index
        share = share or Share(len(draws))
        count = self.draws_used(share.total, share.world)
        slots, std = self._slots(loc, scale, draws[: share.here(count)])
        value, found = self._moments(slots, own_seeds(generator, count, share))
        return TermGradients(value, index, *gradients(slots, std, found))

    def tensors(self) -> dict[str, Tensor]:
        """What the next call depends on beside its arguments, to be saved with a run."""
        return {} if self._partners is None else self._partners.tensors()

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from such tensors."""
        if self._partners is not None and tensors:
            self._partners.load(tensors)

    def draws_used(self, count: int, world: int = 1) -> int:
        """How many of ``count`` draws the term looks at: all, fewer where it is wide and sampled.

        One for each of ``world`` processes at least: none would be done sooner without.
        """
        if self._partners is None:
            return count
        few = self.blocks.index.shape[1] <= _FEW_WEIGHTS
        fewest = max(_FEWEST_DRAWS if few else _FEWEST_OF_MATRICES, world)
        return min(count, max(fewest, round(count * _ALL_DRAWS_UP_TO / self.group.width)))

    def _slots(self, loc: Tensor, scale: Tensor, draws: Tensor) -> tuple[Slots, Tensor]:
        """Slots and stds (n, D) at flat vectors and draws (S, D).

        In float32 only where training is, where marginals are sampled and a unit has many weights:
        matrix products then are all the cost, and densities carry rounding of 1e-4 nats.
        """
        index = self.blocks.index
        single = (
            loc.dtype == torch.float32
            and self._partners is not None
            and index.shape[1] > _FEW_WEIGHTS
        )
        kind = torch.float32 if single else torch.float64
        mean, std, x = (part.to(kind) for part in (loc[index], scale[index], draws[:, index]))
        if single:
            # densities see differences x − μ alone: without what units have in common, products
            # are small and so is their rounding; a column that flips has its origin at 0
            common = mean.mean(0)
            if self.group.signed:
                common = torch.where(self.blocks.sign < 0, 0.0, common)
            mean, x = mean - common, x - common
        return Slots.of(mean, std, x), std

    def _moments(self, slots: Slots, seeds: SeedArray) -> tuple[Tensor, Moments]:
        """Mean value over the draws, and the moments that the gradient needs."""
        if self._partners is None:
            assert self._marginals is not None
            value, kept, flipped = self._evaluate(slots, seeds, self._marginals)
            return value, self._matrix_moments(slots, kept, flipped)
        if self._value_every and self._partners.calls % self._value_every == 0:
            own = np.random.default_rng([19, self._partners.calls])
            self._value = float(self._log_permanents(slots, own).mean())
        table = self._partners.table(self.log_weights, slots)
        if self._forms_no_matrix(slots):
            value = torch.tensor(self._value, dtype=torch.float64, device=slots.x.device)
            return value, self._chain_moments(slots, table, seeds)

        def sampled(log_weights: Array, seeds: SeedArray) -> tuple[Array, Array]:
            steps = default_proposals(self.group.width)
            found = swap_marginals(log_weights, seeds, steps=steps, partners=table)
            return np.full(len(log_weights), self._value), found

        value, kept, flipped = self._evaluate(slots, seeds, sampled)
        return value, self._matrix_moments(slots, kept, flipped)

    def _matrix_moments(self, slots: Slots, kept: Tensor, flipped: Tensor | None) -> Moments:
        return matrix_moments(slots, kept, flipped, self.blocks.sign.to(slots.x.dtype))

    def values(
        self, loc: Tensor, scale: Tensor, draws: Tensor, generator: np.random.Generator
    ) -> Array:
        """log perm of each draw (S, D), nats: exact up to ``EXACT_LIMIT`` units, else small runs of
        sequential Monte Carlo, each of which is a lower bound in expectation.
        """
        return self._log_permanents(self._slots(loc, scale, draws)[0], generator)

    def _log_permanents(self, slots: Slots, generator: np.random.Generator) -> Array:
        matrices = self.log_weights(slots)
        if self.group.width <= EXACT_LIMIT:
            return exact_log_permanent(matrices)
        # log perm >= 0, as the identity alone contributes 1; but its estimate, cut off at 0, would be
        # a lower bound in expectation no more
        return typical_log_permanents(matrices, generator)

    def log_weights(self, slots: Slots) -> Array:
        """A of every draw, (S, n, n)."""
        kept, flipped = self._signed_log_weights(slots)
        return (kept if flipped is None else torch.logaddexp(kept, flipped)).cpu().numpy()

    def _forms_no_matrix(self, slots: Slots) -> bool:
        """Few weights a unit, none of them deterministic, on the CPU."""
        free = all(allowed is None for allowed in self.blocks.allowed)
        return free and slots.x.shape[-1] <= _FEW_WEIGHTS and slots.x.device.type == "cpu"

    def _chain_moments(self, slots: Slots, table: IntArray, seeds: SeedArray) -> Moments:
        constant = -0.5 * (slots.precision * slots.mean**2).sum(-1) + slots.half_log_precision
        natural = GaussianSlots(
            slots.weighted_mean.contiguous().numpy(),
            (0.5 * slots.precision).numpy(),
            constant.numpy(),
            int((self.blocks.sign < 0).sum()) if self.group.signed else None,
        )
        found = swap_moments(natural, slots.x.numpy(), table, seeds)
        parts = (found.first, found.second, found.weighted, 2.0 * found.half_precision)
        return Moments(*(torch.from_numpy(part) for part in parts))

    def _evaluate(
        self, slots: Slots, seeds: SeedArray, find: Marginals
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Mean value, and marginals (S, n, n) of kept and of flipped signs (None if unsigned)."""
        kept, flipped = self._signed_log_weights(slots)
        both = kept if flipped is None else torch.logaddexp(kept, flipped)
        values, found = find(both.cpu().numpy(), seeds)
        share = torch.from_numpy(found).to(both.device)
        value = torch.from_numpy(values).to(both.device).mean()
        if flipped is None:
            return value, share.to(slots.x.dtype), None
        # a pair's share splits over its two signs as their densities do
        turned = torch.where(share > 0, share * torch.exp(flipped - both), 0.0)
        return value, (share - turned).to(slots.x.dtype), turned.to(slots.x.dtype)

    def _signed_log_weights(self, slots: Slots) -> tuple[Tensor, Tensor | None]:
        """log q_i(±x_j) − log q_j(x_j), (S, n, n) for either sign; None for flips if unsigned."""
        # log q_i(x_j) up to a constant common to all i: −½ Σ (x² − 2 μ x + μ²)/σ² − Σ log σ
        precision, mean = slots.precision.double(), slots.mean.double()
        constant = 0.5 * (precision * mean**2).sum(-1) - slots.half_log_precision.double()  # (n,)
        # (n, D) @ (S, D, n) → (S, n, n); everything after the products is float64
        squares = (0.5 * slots.precision @ slots.square.mT).double()
        kept = (slots.weighted_mean @ slots.x.mT).double() - squares - constant[:, None]
        # columns are divided by the own density q_j(x_j): the permanent becomes Σ_g q(g⁻¹ω)/q(ω),
        # and the identity's weight is exactly 1 whatever the rounding
        own = kept.diagonal(dim1=1, dim2=2).clone()
        kept = self._masked(kept - own[:, None, :], 0)
        kept.diagonal(dim1=1, dim2=2).zero_()
        if not self.group.signed:
            return kept, None
        flipped = slots.weighted_mean * self.blocks.sign.to(slots.x.dtype)
        turned = (flipped @ slots.x.mT).double() - squares
        return kept, self._masked(turned - constant[:, None] - own[:, None, :], 1)

    def _masked(self, log_density: Tensor, which: int) -> Tensor:
        allowed = self.blocks.allowed[which]
        return log_density if allowed is None else log_density.masked_fill(~allowed, -torch.inf)


def _locate(group: Group, q: Variational) -> _Blocks:
    positions = q.layout.split(torch.arange(q.layout.size, device=q.loc.device))
    # what a flip negates comes first: the swap chain takes it as a range
    members = sorted(group.members, key=lambda m: not m.flips)
    index = torch.cat([unit_blocks(positions[m.tensor], m, group.width) for m in members], dim=1)
    signs = [
        torch.full(
            (unit_blocks(positions[m.tensor], m, group.width).shape[1],), -1.0 if m.flips else 1.0
        )
        for m in members
    ]
    return _Blocks(index, torch.cat(signs).double().to(q.loc.device), _allowed(group, q))


def _allowed(group: Group, q: Variational) -> tuple[Tensor | None, ...]:
    """Which exchanges the deterministic weights permit, per sign choice."""
    if q.free is None:
        return (None, None)
    with torch.no_grad():
        loc, scale = q.layout.split(q.loc), q.layout.split(q.scale)
        parts = SlotDensity(group, loc, scale).signed_parts(
            {name: value[None] for name, value in loc.items()}
        )
    return tuple(None if part is None else ~torch.isneginf(part[0]) for part in parts)
