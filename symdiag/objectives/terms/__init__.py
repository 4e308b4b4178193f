"""What an objective adds to −L: one file each, found by listing this package's modules.

A module defines ``OPTIONS``, the names of the ``TermOptions`` that it uses, and ``build``. Listing
the names imports no torch, so that help texts can.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from symdiag.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from symdiag.objectives.variational import Variational
    from symdiag.symmetry.spec import PermutationSpec
    from symdiag.workers import Share

__all__ = [
    "Objective",
    "Stateless",
    "TermOptions",
    "build_objective",
    "check_options",
    "objective_names",
]

DEFAULT_OBJECTIVE = "symmetrized"


@dataclass(frozen=True)
class TermOptions:
    """Options that some objectives have; None: not given.

    Attributes:
        marginals: How permanental marginals are had (symmetrized): auto, exact, mcmc or bethe.
        num_elements: K, the group elements of infonce.
    """

    marginals: str | None = None
    num_elements: int | None = None


class Objective(Protocol):
    """A term added to −L, nats: training maximises E log p(y|ω) − KL − term, up to a constant."""

    name: str

    def term(
        self,
        q: Variational,
        draws: Tensor,
        generator: np.random.Generator,
        share: Share | None = None,
    ) -> Tensor:
        """The term for reparameterised draws (S, D), averaged over them; its gradient is used.

        ``generator`` drives whatever the term samples beside the weights. ``share``: which draws these
        are where several processes have some each; the mean over processes is that over all draws.
        """
        ...

    def tensors(self) -> dict[str, Tensor]:
        """State that a resumed run needs to be the same run, by name; ``term.`` starts the names."""
        ...

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from the state among ``tensors``, which may hold others."""
        ...


class Stateless:
    """An objective whose terms depend on their arguments only."""

    def tensors(self) -> dict[str, Tensor]:
        """Nothing to save."""
        return {}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Nothing to go on from."""


def objective_names() -> tuple[str, ...]:
    """Names accepted by ``--objective``, the default first."""
    found = [module.name for module in pkgutil.iter_modules(__path__)]
    return tuple(sorted(found, key=lambda name: (name != DEFAULT_OBJECTIVE, name)))


def build_objective(
    name: str, spec: PermutationSpec, q: Variational, options: TermOptions | None = None
) -> Objective:
    """The objective called ``name`` for weights laid out like ``q``.

    Raises:
        UsageError: ``bad-option``: no such objective, or an option that it does not have.
    """
    options = options or TermOptions()
    check_options(name, options)
    module = importlib.import_module(f"{__name__}.{name}")
    objective: Objective = module.build(spec, q, options)
    return objective


def check_options(name: str, options: TermOptions) -> None:
    """Refuse an unknown objective and options that it would ignore (UsageError ``bad-option``)."""
    if name not in objective_names():
        raise UsageError(
            f"unknown objective '{name}'",
            code="bad-option",
            hint=f"Choose one of: {', '.join(objective_names())}.",
        )
    used = importlib.import_module(f"{__name__}.{name}").OPTIONS
    for option, flag in (("marginals", "--marginals"), ("num_elements", "--K")):
        if getattr(options, option) is not None and option not in used:
            raise UsageError(
                f"{flag} does not apply to the objective {name}",
                code="bad-option",
                hint=f"Leave {flag} out.",
            )
