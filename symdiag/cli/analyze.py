"""``symdiag analyze``: how many equivalent modes does a posterior straddle?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from symdiag.cli._exits import NO_VERDICT, error_line, exit_code, explained
from symdiag.cli._options import OutputOptions, VerdictOptions, command
from symdiag.cli._output import emit, progress_bar, resolve_output
from symdiag.cli._streams import write_stderr
from symdiag.tasks.options import (
    DataOptions,
    DiagnosisOptions,
    EstimationOptions,
    MeterOptions,
    ReadingOptions,
)
from symdiag.training.config import ModelConfig
from symdiag.workers import LOST, Workers, workers_from_environment


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(
        app,
        analyze,
        short_help="Diagnose what symmetry has done to trained posteriors.",
        example="symdiag analyze posterior.pt --activation relu --format json",
    )


def analyze(
    paths: Annotated[
        list[Path], typer.Argument(metavar="CHECKPOINT...", help="Checkpoints to diagnose.")
    ],
    shown: OutputOptions,
    reading: ReadingOptions,
    given: DataOptions,
    model_config: ModelConfig,
    meter: MeterOptions,
    diagnosis: DiagnosisOptions,
    estimation: EstimationOptions,
    verdict: VerdictOptions,
) -> int:
    """Diagnose how weight-space symmetry has affected trained posteriors.

    Several with --data end in a table of them. Exits 0 below the limit, 1 above it, 2 without a
    verdict.
    """
    out = resolve_output(shown, paths)
    options = dict(
        given=given,
        model_config=model_config,
        meter=meter,
        diagnosis=diagnosis,
        estimation=estimation,
    )
    readings = _readings(reading, paths, diagnosis)
    with workers_from_environment() as workers:
        found = [
            _analyze_one(path, shown, workers, many=len(paths) > 1, reading=own, **options)
            for path, own in zip(paths, readings, strict=True)
        ]
        items = [getattr(one, "report", one) for one in found]
        # all processes have the same, and end when the first has written it
        with workers.together():
            if workers.writes:
                emit(out, [*items, *_side_by_side(found)])
    return _code(items, verdict)


def _readings(
    reading: ReadingOptions, paths: list[Path], diagnosis: DiagnosisOptions
) -> list[ReadingOptions]:
    """For each checkpoint, ``reading`` with its own companion and member, then the reference's."""
    if reading.companion is None and reading.member is None:
        return [reading] * len(paths)
    last = [] if diagnosis.reference is None else [diagnosis.reference]
    each = reading.each(len(paths) + len(last))
    shared = each[len(paths) :]

    def together(name: str, own: ReadingOptions) -> Any:
        return [getattr(one, name) for one in (own, *shared)]

    return [
        replace(reading, companion=together("companion", own), member=together("member", own))
        for own in each[: len(paths)]
    ]


def _analyze_one(
    path: Path, shown: OutputOptions, workers: Workers, *, many: bool, **options: Any
) -> Any:
    """An analysis; among several files, this one's failure instead, so that the others go on."""
    from symdiag.tasks.analyze import analysis as run

    try:
        with progress_bar(shown) as progress, workers.together():
            return run(path, progress=progress, workers=workers, **options)
    except Exception as error:
        # nothing can be shared any more with a process that has ended
        if not many or getattr(error, "code", "") == LOST:
            raise
        from symdiag.report import Failure

        failure = Failure(str(path), explained(error))
        # at once, not with the report: a long run should say early what it leaves out
        if workers.writes:
            write_stderr(error_line(failure.error, failure.path))
        return failure


def _side_by_side(found: list[Any]) -> list[Any]:
    """The table of the posteriors that were judged on the data, where there are several."""
    from symdiag.tasks.analyze import Analysis, evidence_table

    judged = [one for one in found if isinstance(one, Analysis) and one.report.elbo is not None]
    return [evidence_table(judged)] if len(judged) > 1 else []


def _code(items: list[Any], verdict: VerdictOptions) -> int:
    from symdiag.report import Failure

    if any(isinstance(item, Failure) for item in items):
        return NO_VERDICT
    return exit_code(items, exit_zero=verdict.exit_zero, strict=verdict.strict)
