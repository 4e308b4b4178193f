"""Where the numbers of a run go: a JSON-lines file, TensorBoard, or whatever the caller passes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from symdiag.errors import OutputError, UsageError


@dataclass(frozen=True)
class Record:
    """One line of metrics; nats summed over the data set, averaged over evaluation draws."""

    phase: str
    step: int
    steps: int
    objective: float  # elbo + log|G| − straddling_entropy where the phase optimises that, else elbo
    elbo: float
    straddling_entropy: float
    log_likelihood: float
    kl: float
    learning_rate: float
    gradient_norm: float
    noise_std: float | None
    steps_per_second: float
    eta_seconds: float


Sink = Callable[[Record], None]


class JsonLines:
    """Appends one JSON object per record; resuming drops lines beyond the state taken up first."""

    def __init__(self, path: Path, *, resume_from: tuple[str, int] | None = None) -> None:
        self.path = path
        kept = (
            _lines_before(path, *resume_from) if resume_from is not None and path.exists() else []
        )
        try:
            # at once: a path that cannot be written fails before the training, not after it
            path.write_text("".join(kept), encoding="utf-8")
        except OSError as error:
            raise OutputError(f"cannot write metrics to {path}: {error.strerror}") from error

    def __call__(self, record: Record) -> None:
        """Write one line and flush it."""
        # JSON has no NaN and no infinity: null takes their place
        line = {
            k: (v if not isinstance(v, float) or math.isfinite(v) else None)
            for k, v in asdict(record).items()
        }
        try:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line, allow_nan=False) + "\n")
        except OSError as error:
            raise OutputError(f"cannot write metrics to {self.path}: {error.strerror}") from error


def _lines_before(path: Path, phase: str, step: int) -> list[str]:
    """Whole lines of finished phases and of ``phase`` up to ``step``."""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            entry = json.loads(line)
        except ValueError:
            break  # the line being written when the process died
        if entry["phase"] == phase and entry["step"] > step:
            break
        kept.append(line)
    return kept


class TensorBoard:
    """Scalars ``phase/name`` for TensorBoard (an optional dependency)."""

    def __init__(self, directory: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError(
                "--tensorboard needs the tensorboard package",
                code="missing-extra",
                hint="pip install tensorboard",
            ) from error
        self._writer = SummaryWriter(str(directory))

    def __call__(self, record: Record) -> None:
        """Write every number of the record."""
        for name, value in asdict(record).items():
            if isinstance(value, (int, float)) and name not in ("step", "steps"):
                self._writer.add_scalar(f"{record.phase}/{name}", value, record.step)
        self._writer.flush()
