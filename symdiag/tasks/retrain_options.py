"""What ``retrain`` can be told beside its training: where it starts and runs, what it is compared with, its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from symdiag.errors import UsageError
from symdiag.options import Device, Option, check, offers


@dataclass(frozen=True, kw_only=True)
class ControlOptions:
    """Where retraining starts, what it is compared with, and where it runs."""

    start: Annotated[
        Literal["checkpoint", "scratch"],
        Option(
            "checkpoint, or scratch: random means.",
            flags=("--from",),
            kind=str,
            complete=offers(lambda: ("checkpoint", "scratch")),
        ),
    ] = "checkpoint"
    starts: Annotated[
        int,
        Option(
            "Race short runs from so many starts, --from's, draws and fresh nets; go on with the "
            "best by L^G.",
            least=1,
        ),
    ] = 1
    control: Annotated[
        bool, Option("Also train with the plain ELBO.", flags=("--control/--no-control",))
    ] = True
    control_runs: Annotated[
        int,
        Option("Of two or more every fourth, at least one, starts from scratch.", least=0),
    ] = 4
    anyway: Annotated[
        bool, Option("Train even where H(g|w) is below 0.05 nats: nothing to gain.")
    ] = False
    device: Device = "cpu"

    def __post_init__(self) -> None:
        check(self)
        if self.start not in ("checkpoint", "scratch"):
            raise UsageError(
                f"unknown --from {self.start!r}", code="bad-option", hint="checkpoint or scratch"
            )

    @property
    def controls(self) -> int:
        """Runs of the plain ELBO."""
        return self.control_runs if self.control else 0


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """Where retraining puts things."""

    output: Annotated[
        Path | None, Option("Retrained checkpoint, same format.", flags=("--output", "-o"))
    ] = None
    state: Annotated[Path | None, Option("Where a run's state is kept. Default: OUTPUT.state.")] = (
        None
    )
    resume: Annotated[bool, Option("Go on from an interrupted run's state.")] = False
    keep_worse: Annotated[bool, Option("Write the output even if it is worse.")] = False
    metrics: Annotated[Path | None, Option("JSON-lines file of training metrics.")] = None
    tensorboard: Annotated[Path | None, Option("TensorBoard folder.")] = None

    @property
    def state_path(self) -> Path | None:
        """Where the resumable state is kept, if anywhere."""
        if self.state is not None or self.output is None:
            return self.state
        # beside the output, so that one folder holds all of a run
        return self.output.with_name(f"{self.output.name}.state")
