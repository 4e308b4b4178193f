"""symdiag: what weight-space symmetry has done to a trained Bayesian neural network.

``symdiag.load(path)``, ``symdiag.analyze(path)``, ``symdiag.align``, ``symdiag.retrain`` and
``symdiag.StraddlingPenalty(model)``. Everything heavy is imported on first use.
"""

from symdiag._version import __version__

TYPE_CHECKING = False  # what type checkers take for True; the name in typing would show up in dir()
if TYPE_CHECKING:
    from symdiag.errors import SymdiagError
    from symdiag.formats import load, save
    from symdiag.objectives.penalty import StraddlingPenalty
    from symdiag.posterior import Posterior
    from symdiag.report.kinds.analyze import Report
    from symdiag.tasks.align import align, align_many
    from symdiag.tasks.analyze import analyze
    from symdiag.tasks.compare import compare
    from symdiag.tasks.doctor import doctor
    from symdiag.tasks.inspect import inspect
    from symdiag.tasks.prune import prune
    from symdiag.tasks.retrain import retrain
    from symdiag.tasks.samples import analyze_samples

__all__ = [
    "Posterior",
    "Report",
    "StraddlingPenalty",
    "SymdiagError",
    "__version__",
    "align",
    "align_many",
    "analyze",
    "analyze_samples",
    "compare",
    "doctor",
    "inspect",
    "load",
    "prune",
    "retrain",
    "save",
]

_HOME = {
    "Posterior": "symdiag.posterior",
    "Report": "symdiag.report.kinds.analyze",
    "StraddlingPenalty": "symdiag.objectives.penalty",
    "SymdiagError": "symdiag.errors",
    "align": "symdiag.tasks.align",
    "align_many": "symdiag.tasks.align",
    "analyze": "symdiag.tasks.analyze",
    "analyze_samples": "symdiag.tasks.samples",
    "compare": "symdiag.tasks.compare",
    "doctor": "symdiag.tasks.doctor",
    "inspect": "symdiag.tasks.inspect",
    "load": "symdiag.formats",
    "prune": "symdiag.tasks.prune",
    "retrain": "symdiag.tasks.retrain",
    "save": "symdiag.formats",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'symdiag' has no attribute {name!r}")
    import importlib

    found = getattr(importlib.import_module(_HOME[name]), name)
    if not isinstance(found, type):
        from symdiag.tasks.keywords import in_python

        found = in_python(found)
    elif name == "StraddlingPenalty":  # a call like the others: its constructor refuses options
        from symdiag.tasks.keywords import in_python

        found.__init__ = in_python(found.__init__)  # type: ignore[misc]
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
