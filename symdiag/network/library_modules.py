"""Modules of libraries whose calls do more than to compute: made to compute once, with weights that
can be set.

No library is imported: Pyro's and torch-blue's classes are recognised by name.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class _Inactive:
    """Stands in for a module's Pyro context: parameters are then not registered in the global
    store.
    """

    active = 0
    used = True

    def __enter__(self) -> _Inactive:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def get(self, name: str) -> None:
        """Nothing is cached."""

    def set(self, name: str, value: object) -> None:
        """Nothing is cached."""


def made_plain(module: nn.Module) -> bool:
    """Change ``module`` in place where it is Pyro's or torch-blue's; whether it is either.

    Every ``PyroSample`` becomes a parameter of its shape. torch-blue's outermost module computes
    once instead of for ten draws side by side, and keeps no log probabilities.
    """
    known = False
    for part in module.modules():
        bases = {c.__name__ for c in type(part).__mro__}
        if "PyroModule" in bases:
            _pyro(part)
        if "VIModule" in bases:
            part.__dict__["_has_sampling_responsibility"] = False
            part.__dict__["_return_log_probs"] = False
        known |= bool(bases & {"PyroModule", "VIModule"})
    return known


def _pyro(part: nn.Module) -> None:
    part.__dict__["_pyro_context"] = _Inactive()
    samples: dict[str, Any] = part.__dict__.get("_pyro_samples", {})
    for name in list(samples):
        kept = samples.pop(name)  # Pyro 1.9 keeps the prior itself, others the PyroSample
        prior = getattr(kept, "prior", kept)
        prior = prior if hasattr(prior, "batch_shape") else prior(part)
        part._parameters[name] = nn.Parameter(torch.zeros(prior.batch_shape + prior.event_shape))
