"""symdiag: what weight-space symmetry has done to a trained Bayesian neural network, and how to fix it.

``symdiag.load(path)``, ``symdiag.analyze(path)``, ``symdiag.align``, ``symdiag.retrain`` and
``symdiag.StraddlingPenalty(model)``. Everything heavy is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from symdiag._version import __version__

if TYPE_CHECKING:
    from symdiag.api import align, analyze, load
    from symdiag.errors import SymdiagError
    from symdiag.objectives.penalty import StraddlingPenalty
    from symdiag.posterior import Posterior
    from symdiag.report.model import Report
    from symdiag.retraining import retrain
    from symdiag.sampling import analyze_samples

__all__ = [
    "Posterior",
    "Report",
    "StraddlingPenalty",
    "SymdiagError",
    "__version__",
    "align",
    "analyze",
    "analyze_samples",
    "load",
    "retrain",
]

_HOME = {
    "Posterior": "symdiag.posterior",
    "Report": "symdiag.report.model",
    "SymdiagError": "symdiag.errors",
    "StraddlingPenalty": "symdiag.objectives.penalty",
    "align": "symdiag.api",
    "analyze": "symdiag.api",
    "analyze_samples": "symdiag.sampling",
    "retrain": "symdiag.retraining",
    "load": "symdiag.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'symdiag' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)
