"""The symmetrised objective L + log|G| − Σ_l H_l (Gelberg et al. 2024, Thm 4.1, with exact H_l)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from symdiag.objectives.element_term import group_term
from symdiag.objectives.terms import TermOptions
from symdiag.objectives.variational import Variational
from symdiag.symmetry.spec import PermutationSpec
from symdiag.workers import Share

OPTIONS = ("marginals",)


class Symmetrized:
    """Adds Σ_l H(g_l | ω), every group with the others at the identity (docs/theory/estimators.md)."""

    name = "symmetrized"

    def __init__(
        self,
        spec: PermutationSpec,
        q: Variational,
        marginals: str = "auto",
        *,
        value_every: int = 1,
    ) -> None:
        self.groups = tuple(
            group_term(group, q, marginals, value_every=value_every)
            for group in spec
            if group.width > 1 or group.signed
        )

    def term(
        self,
        q: Variational,
        draws: Tensor,
        generator: np.random.Generator,
        share: Share | None = None,
    ) -> Tensor:
        """Σ_l H_l for reparameterised draws (S, D), nats."""
        total = draws.new_zeros((), dtype=torch.float64)
        scale = q.scale
        for group in self.groups:
            total = total + group(q.loc, scale, draws, generator, share)
        return total

    def tensors(self) -> dict[str, Tensor]:
        """What the next step depends on beside the weights: the groups' tables of partners."""
        named = ((k, group.tensors()) for k, group in enumerate(self.groups))
        return {f"term.{k}.{name}": value for k, own in named for name, value in own.items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from such tensors."""
        for k, group in enumerate(self.groups):
            start = f"term.{k}."
            own = {n.removeprefix(start): v for n, v in tensors.items() if n.startswith(start)}
            group.load(own)


def build(spec: PermutationSpec, q: Variational, options: TermOptions) -> Symmetrized:
    """Without the value of H: the monitor of a run computes a better one."""
    return Symmetrized(spec, q, options.marginals or "auto", value_every=0)
