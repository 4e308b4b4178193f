"""Likelihoods p(y | f): one file each, found by listing this package's modules.

A new one is one new module that defines ``LIKELIHOOD``, an object with the methods of
``interface.Likelihood``. Listing the names imports no torch, so that help texts can.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from symdiag.errors import UsageError

if TYPE_CHECKING:
    from symdiag.objectives.likelihoods.interface import Likelihood

__all__ = ["check_noise", "find_likelihood", "likelihood_names"]

_NOT_A_LIKELIHOOD = "interface"


def likelihood_names() -> tuple[str, ...]:
    """Names accepted by ``--likelihood``, in alphabetical order."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in found if name != _NOT_A_LIKELIHOOD))


def find_likelihood(name: str) -> Likelihood:
    """The likelihood called ``name``; UsageError with the valid names otherwise."""
    if name not in likelihood_names():
        raise UsageError(
            f"unknown likelihood '{name}'",
            code="bad-option",
            hint=f"Choose one of: {', '.join(likelihood_names())}.",
        )
    likelihood: Likelihood = importlib.import_module(f"{__name__}.{name}").LIKELIHOOD
    return likelihood


def check_noise(likelihood: Likelihood, noise: object) -> None:
    """Refuse a noise std (None: not given) where the likelihood has none, instead of ignoring it.

    Raises:
        UsageError: ``bad-option``.
    """
    if noise is not None and not likelihood.has_noise:
        noisy = [name for name in likelihood_names() if find_likelihood(name).has_noise]
        raise UsageError(
            f"the {likelihood.name} likelihood has no noise std, so --noise does not apply",
            code="bad-option",
            hint=f"Leave --noise out; likelihoods that have one: {', '.join(noisy)}.",
        )
