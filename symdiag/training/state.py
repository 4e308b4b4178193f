"""The whole state of a retraining job on disk: enough to go on bit for bit after ``kill -9``.

A safetensors file (no code can hide in it): parameters and Adam moments of the phase under way, the final
parameters of the finished phases, and a JSON object with the counters and settings.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from symdiag.errors import TrainingError, UsageError
from symdiag.formats.atomic import atomic_write
from symdiag.training.config import differences

_VERSION = "1"


@dataclass(frozen=True)
class RunState:
    """Where one optimisation run stands after ``step`` updates.

    ``tensors`` hold parameters and optimiser moments; ``best`` is the best objective seen, nats, at ``best_step``.
    """

    step: int
    tensors: dict[str, Tensor]
    best: float = float("-inf")
    best_step: int = 0
    finished: bool = False


@dataclass(frozen=True)
class JobState:
    """A job is a sequence of named runs (symmetrized, control, ...); the last one may be unfinished."""

    settings: dict[str, Any]
    runs: dict[str, RunState] = field(default_factory=dict)

    def with_run(self, name: str, run: RunState) -> JobState:
        """This state with one run replaced or added."""
        return replace(self, runs={**self.runs, name: run})


def save_job(job: JobState, path: Path) -> None:
    """Write atomically: after a crash the file holds either the old state or the new one."""
    tensors = {
        f"{name}/{key}": value
        for name, run in job.runs.items()
        for key, value in run.tensors.items()
    }
    counters = {
        name: {"step": r.step, "best": r.best, "best_step": r.best_step, "finished": r.finished}
        for name, r in job.runs.items()
    }
    note = {
        "symdiag": json.dumps({"version": _VERSION, "settings": job.settings, "runs": counters})
    }
    atomic_write(
        path, save({k: v.contiguous() for k, v in tensors.items()}, metadata=note), overwrite=True
    )


def load_job(path: Path, settings: dict[str, Any]) -> JobState:
    """Read a state back and check that it belongs to a job with the same settings.

    Raises:
        UsageError: ``resume-mismatch``, listing what differs.
        TrainingError: ``resume-failed``: no such file, or not a state file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            note = json.loads((file.metadata() or {})["symdiag"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise TrainingError(
            f"cannot resume from {path}: {error}",
            code="resume-failed",
            hint="Run again without --resume to start over.",
        ) from error
    changed = differences(note["settings"], json.loads(json.dumps(settings)))
    if changed:
        raise UsageError(
            "the run to resume had other settings: " + "; ".join(changed),
            code="resume-mismatch",
            hint="Repeat the original options, or start over without --resume.",
        )
    runs = {
        name: RunState(
            tensors={k.split("/", 1)[1]: v for k, v in tensors.items() if k.startswith(f"{name}/")},
            **counters,
        )
        for name, counters in note["runs"].items()
    }
    return JobState(settings, runs)


def copy_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Independent CPU copies."""
    return {name: value.detach().to("cpu", copy=True) for name, value in tensors.items()}


def restore(tensors: dict[str, Tensor], into: dict[str, Tensor]) -> None:
    """Copy saved values into live tensors of the same names."""
    with torch.no_grad():
        for name, target in into.items():
            target.copy_(tensors[name])
