"""The evidence lower bound itself: no extra term."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from symdiag.objectives.terms import Stateless, TermOptions
from symdiag.objectives.variational import Variational
from symdiag.symmetry.spec import PermutationSpec
from symdiag.workers import Share

OPTIONS: tuple[str, ...] = ()


class Elbo(Stateless):
    """L = E log p(y|ω) − KL(q ‖ p)."""

    name = "elbo"

    def term(
        self,
        q: Variational,
        draws: Tensor,
        generator: np.random.Generator,
        share: Share | None = None,
    ) -> Tensor:
        """Zero."""
        return draws.new_zeros(())


def build(spec: PermutationSpec, q: Variational, options: TermOptions) -> Elbo:
    """The same for every posterior."""
    return Elbo()
