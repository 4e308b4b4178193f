"""Objectives by name."""

from __future__ import annotations

from symdiag.errors import UsageError
from symdiag.objectives.elbo import Elbo
from symdiag.objectives.infonce import InfoNCE
from symdiag.objectives.interface import Objective
from symdiag.objectives.symmetrized import Symmetrized
from symdiag.objectives.variational import Variational
from symdiag.symmetry.spec import PermutationSpec

OBJECTIVES = ("symmetrized", "infonce", "elbo")
"""Names accepted by ``--objective``."""


def build_objective(
    name: str,
    spec: PermutationSpec,
    q: Variational,
    *,
    marginals: str = "auto",
    num_elements: int = 20,
) -> Objective:
    """The objective called ``name`` for weights laid out like ``q``; UsageError for an unknown name."""
    if name == "symmetrized":
        return Symmetrized(spec, q, marginals, value=False)  # the monitor reports better values
    if name == "infonce":
        return InfoNCE(spec, num_elements)
    if name == "elbo":
        return Elbo()
    raise UsageError(
        f"unknown objective '{name}'",
        code="bad-option",
        hint=f"Choose one of: {', '.join(OBJECTIVES)}.",
    )
