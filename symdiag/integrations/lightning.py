"""A Lightning callback that measures H(g|ω) while a network trains.

``StraddlingMonitor`` is ``Monitor`` with Lightning's ``Callback`` as its base, of whichever of the
packages ``lightning`` and ``pytorch_lightning`` the program uses.
"""

from __future__ import annotations

import functools
import importlib
import sys
import warnings
from collections.abc import Callable
from typing import Any, Literal

from symdiag.errors import UsageError

Action = Literal["log", "warn", "stop"]
_PACKAGES = ("lightning.pytorch", "pytorch_lightning")
_DEFAULTS: dict[str, Any] = {"samples": 32, "budget": 1.0}


class Monitor:
    """Logs H(g|ω) in total and by group at the end of epochs; warns, or stops the training.

    ``symdiag/H`` and ``symdiag/H/GROUP`` are logged like any metric of the module, so that
    ``EarlyStopping`` and ``ModelCheckpoint`` can watch them. The measurement has random numbers of
    its own: training goes on exactly as it would without it. A new network may straddle before it
    has learnt anything: ``patience`` and ``start_epoch`` are for that.

    Args:
        action: ``log`` only, ``warn``, or ``stop`` the training, once H is certainly above
            ``max_straddling`` at ``patience`` measurements in a row.
        max_straddling: Limit on the total H(g|ω), nats.
        every_n_epochs: Epochs from one measurement to the next.
        start_epoch: First epoch that is measured.
        patience: Measurements in a row above the limit before ``action`` is taken.
        source: From the LightningModule to what ``symdiag.analyze`` takes, where the module is not
            itself the network: ``lambda module: module.net``.
        **analysis: Further keywords of ``symdiag.analyze``. By default 32 draws and a budget of one
            nominal second.

    Attributes:
        history: (epoch, H) of every measurement.
        report: The last report; None before the first.

    Raises:
        UsageError: ``bad-option``: a number below 1, or no such action.
    """

    def __init__(
        self,
        *,
        action: Action = "warn",
        max_straddling: float = 1.0,
        every_n_epochs: int = 1,
        start_epoch: int = 0,
        patience: int = 3,
        source: Callable[[Any], Any] | None = None,
        **analysis: Any,
    ) -> None:
        super().__init__()
        if action not in ("log", "warn", "stop"):
            hint = "log, warn or stop"
            raise UsageError(f"unknown action {action!r}", code="bad-option", hint=hint)
        for name, number in (("every_n_epochs", every_n_epochs), ("patience", patience)):
            if number < 1:
                raise UsageError(f"{name} must be at least 1, got {number}", code="bad-option")
        self.action, self.patience = action, patience
        self.every_n_epochs, self.start_epoch = every_n_epochs, start_epoch
        self.analysis = {**_DEFAULTS, "max_straddling": max_straddling, **analysis}
        self.source = source
        self.history: list[tuple[int, float]] = []
        self.report: Any = None
        self._above = 0

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Measure once with few draws: what cannot be read fails now, not after an epoch."""
        self._measured(pl_module, samples=2)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure, log, and warn or stop."""
        epoch = int(trainer.current_epoch)
        since = epoch - self.start_epoch
        if since < 0 or since % self.every_n_epochs:
            return
        # every process of a distributed run holds the same weights and seeds: all of them come to
        # the same figure, and to the same decision to stop, without asking each other
        self.report = report = self._measured(pl_module)
        total = report.total.straddling_entropy
        self.history.append((epoch, total.value))
        by_group = {f"symdiag/H/{g.name}": g.straddling_entropy.value for g in report.groups}
        pl_module.log_dict({"symdiag/H": total.value, **by_group}, on_step=False, on_epoch=True)
        self._above = self._above + 1 if report.verdict == "straddling" else 0
        if self._above >= self.patience and self.action != "log":
            self._act(trainer, epoch, total)

    def _measured(self, pl_module: Any, **changes: Any) -> Any:
        import torch

        from symdiag.tasks.analyze import analyze

        source = pl_module if self.source is None else self.source(pl_module)
        training = pl_module.training
        # tracing runs the forward pass, and Bayesian layers draw their noise from torch's own state
        device = pl_module.device
        with torch.random.fork_rng([device.index or 0] if device.type == "cuda" else []):
            report = analyze(source, **{**self.analysis, **changes})
        pl_module.train(training)
        return report

    def _act(self, trainer: Any, epoch: int, total: Any) -> None:
        said = (
            f"H(g|w) is {total.value:.2f} nats in [{total.lower:.2f}, {total.upper:.2f}] at epoch "
            f"{epoch}, above {self.analysis['max_straddling']:g} at {self._above} measurements in "
            "a row"
        )
        if self.action == "stop":
            trainer.should_stop = True
            said += ": training stops"
        warnings.warn(f"{said} (symdiag explain SYM001)", RuntimeWarning, stacklevel=2)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint of the training keeps: the history, and how long H was above."""
        return {"history": list(self.history), "above": self._above}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.history = [(int(epoch), float(value)) for epoch, value in state_dict["history"]]
        self._above = int(state_dict["above"])


def monitor_class() -> type:
    """``Monitor`` as a Lightning callback.

    Raises:
        UsageError: ``missing-extra``: neither package is installed.
    """
    # the two packages do not know each other's callbacks: take the one the program has loaded
    loaded = [name for name in _PACKAGES if name in sys.modules]
    found = (_callback(name) for name in (*loaded, *_PACKAGES))
    base = next((callback for callback in found if callback is not None), None)
    if base is None:
        raise UsageError(
            "the callback needs Lightning", code="missing-extra", hint="pip install lightning"
        )
    return _with_base(base)


def _callback(package: str) -> type | None:
    try:
        base: type = importlib.import_module(package).Callback
    except ImportError:
        return None
    return base


@functools.cache
def _with_base(callback: type) -> type:
    # under the name it is imported by, so that it can be pickled
    names = {"__doc__": Monitor.__doc__, "__module__": __package__}
    return type("StraddlingMonitor", (Monitor, callback), names)
