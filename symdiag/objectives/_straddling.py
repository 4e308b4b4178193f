"""One group's straddling entropy as an operation of autograd, whatever its gradient comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from symdiag.arrays import SeedArray
from symdiag.permanents.swaps import chain_seeds
from symdiag.workers import Share


@dataclass(frozen=True)
class TermGradients:
    """Mean over draws of log perm, nats, and its gradients at the flat positions ``index`` (n, D).

    With respect to means and stds (n, D) at fixed draws, and to the S draws used (S, n, D).
    """

    value: Tensor
    index: Tensor
    by_mean: Tensor
    by_std: Tensor
    by_draw: Tensor


class Term(Protocol):
    """What makes value and gradients of one group, by permanents or otherwise."""

    def evaluate(
        self,
        loc: Tensor,
        scale: Tensor,
        draws: Tensor,
        generator: np.random.Generator,
        share: Share | None = None,
    ) -> TermGradients:
        """At flat vectors μ, σ (D,) and draws (S, D), the ``share`` of them that is here."""
        ...

    def draws_used(self, count: int, world: int = 1) -> int:
        """How many of ``count`` draws over all processes the term looks at."""
        ...


class _Straddling(torch.autograd.Function):
    """log perm(exp A), or what a ``term`` has in its place, averaged over draws.

    All gradients are formed in the forward pass, next to the marginals that they need.
    """

    @staticmethod
    def forward(
        ctx: Any,
        loc: Tensor,
        scale: Tensor,
        draws: Tensor,
        term: Term,
        generator: np.random.Generator,
        share: Share,
    ) -> Tensor:
        found = term.evaluate(loc, scale, draws, generator, share)
        ctx.save_for_backward(found.index, found.by_mean, found.by_std, found.by_draw)
        ctx.like = (loc, scale, draws)
        return found.value

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        index, *saved = ctx.saved_tensors
        spread = []
        for like, gradient in zip(ctx.like, saved, strict=True):
            full = torch.zeros_like(like)
            # of the draws' gradient only those that were used have one
            part = full if full.ndim == 1 else full[: len(gradient)]
            part[..., index] = (gradient * grad_outputs[0]).to(like.dtype)
            spread.append(full)
        return (*spread, None, None, None)


def straddling(
    loc: Tensor,
    scale: Tensor,
    draws: Tensor,
    term: Term,
    generator: np.random.Generator,
    share: Share | None = None,
) -> Tensor:
    """The term's value at flat vectors μ, σ (D,) and draws (S, D), with its gradients.

    Of draws that several processes share, a value whose mean over processes is that of all draws.
    """
    share = share or Share(len(draws))
    function: Any = _Straddling.apply
    value: Tensor = function(loc, scale, draws, term, generator, share)
    return value * share.weight(term.draws_used(share.total, share.world))


def own_seeds(generator: np.random.Generator, used: int, share: Share) -> SeedArray:
    """Seeds of the chains of this process's draws, among those of all ``used`` draws.

    One chain a draw, so that a draw's marginals do not depend on how many processes there are.
    """
    return chain_seeds(generator, used)[share.picked]
