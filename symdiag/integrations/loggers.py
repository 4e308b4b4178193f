"""The numbers of a report in an experiment tracker, by the tracker's own API.

What is logged is ``symdiag.report.records.scalars``: totals, and a line per group.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from symdiag.errors import UsageError
from symdiag.report.parts import AnyReport
from symdiag.report.records import scalars

PREFIX = "symdiag"


def log_to_tensorboard(
    report: AnyReport, writer: Any, *, step: int = 0, prefix: str = PREFIX
) -> dict[str, float]:
    """Add the report's numbers as scalars, and its text.

    Args:
        report: A report of any kind.
        writer: A ``SummaryWriter``, or the folder for one.
        step: Training step or epoch.
        prefix: Comes before every name, with a slash.

    Returns:
        What was logged.

    Raises:
        UsageError: ``missing-extra``: a folder was given and tensorboard is not installed.
    """
    found = _named(report, prefix)
    # one that we opened has to be closed, or its file ends in the middle
    own = isinstance(writer, str | Path)
    if own:
        writer = _needed("torch.utils.tensorboard", "tensorboard").SummaryWriter(str(writer))
    for name, value in found.items():
        writer.add_scalar(name, value, step)
    # TensorBoard shows Markdown, where the indented report is a block of code
    text = "".join(f"    {line}\n" for line in str(report).splitlines())
    writer.add_text(f"{prefix}/report", text, step)
    if own:
        writer.close()
    return found


def log_to_wandb(
    report: AnyReport, run: Any = None, *, step: int | None = None, prefix: str = PREFIX
) -> dict[str, float]:
    """Log the report's numbers to a Weights & Biases run.

    Args:
        report: A report of any kind.
        run: What ``wandb.init`` returned; None for the active run.
        step: Training step; None for the run's next one. W&B drops a step before its current one.
        prefix: Comes before every name, with a slash.

    Returns:
        What was logged.

    Raises:
        UsageError: ``missing-extra``: wandb is not installed; ``usage``: no run is active.
    """
    if run is None:
        run = _needed("wandb", "wandb").run
        if run is None:
            raise UsageError(
                "no Weights & Biases run is active", hint="call wandb.init() first, or give run="
            )
    found = _named(report, prefix)
    # all in one call: each call is a step of its own
    run.log(found, step=step)
    return found


def log_to_mlflow(
    report: AnyReport,
    *,
    step: int | None = None,
    run_id: str | None = None,
    prefix: str = PREFIX,
) -> dict[str, float]:
    """Log the report's numbers to an MLflow run.

    Args:
        report: A report of any kind.
        step: Training step; None: 0, as MLflow has it.
        run_id: The run; None for the active one, which MLflow starts where there is none.
        prefix: Comes before every name, with a slash.

    Returns:
        What was logged.

    Raises:
        UsageError: ``missing-extra``: mlflow is not installed.
    """
    found = {_mlflow_name(k): v for k, v in _named(report, prefix).items()}
    _needed("mlflow", "mlflow").log_metrics(found, step=step, run_id=run_id)
    return found


def _named(report: AnyReport, prefix: str) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in scalars(report).items()}


def _mlflow_name(name: str) -> str:
    # MLflow refuses a batch for one name with any other character, and layers may be called anything
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)


def _needed(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"this needs {package}", code="missing-extra", hint=f"pip install {package}"
        ) from error
