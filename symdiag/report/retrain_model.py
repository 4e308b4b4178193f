"""The report of ``retrain`` as frozen dataclasses; field names are its JSON contract."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from symdiag.estimate import Estimate
from symdiag.report.model import SCHEMA_VERSION, ModelInfo, to_object

RetrainVerdict = Literal["improved", "no measurable benefit", "worse"]


@dataclass(frozen=True)
class TestScores:
    """Quality on the test data: NLL in nats per point, rmse or accuracy, calibration error."""

    __test__ = False  # not a test, whatever pytest makes of the name

    nll: float
    metric_name: str
    metric: float
    calibration_error: float


@dataclass(frozen=True)
class Figures:
    """One posterior: evidence terms in nats over the training set, and test scores.

    ``symmetrized.lower`` is a lower bound on the log evidence (it takes the upper end of H); ``.upper`` is not one.
    """

    name: str  # before, control or retrained
    elbo: Estimate
    symmetrized: Estimate
    straddling_entropy: Estimate
    log_likelihood: Estimate
    kl: float
    active_units: int
    units: int
    noise_std: float | None
    test: TestScores | None


@dataclass(frozen=True)
class Change:
    """retrained − reference of one quantity, with an interval of about 95 % where one can be had."""

    name: str
    value: float
    lower: float | None
    upper: float | None


@dataclass(frozen=True)
class Bound:
    """The best lower bound on the log evidence that this run can vouch for."""

    run: str
    value: float
    statement: str


@dataclass(frozen=True)
class RetrainSettings:
    """Everything that was chosen, by the user or by default."""

    objective: str
    steps: int
    steps_taken: int
    learning_rate: float
    batch_size: int
    draws: int
    seed: int
    marginals: str
    num_elements: int
    start: str
    likelihood: str
    noise: str
    prior: str
    control_runs: int
    evaluation_samples: int


@dataclass(frozen=True)
class RetrainReport:
    """What retraining did.

    ``changes`` are differences to ``compared_with`` (the control run of equal steps, seeds and batches, else the
    checkpoint itself). ``run_to_run`` is the half-width that training noise alone gives a difference in L^G, estimated
    from the control runs; it is part of the interval that decides the verdict. ``output`` is None when nothing was
    written.
    """

    model: ModelInfo
    log_order: float
    before: Figures
    control: Figures | None
    retrained: Figures
    compared_with: Literal["control", "before"]
    changes: tuple[Change, ...]
    changes_to_before: tuple[Change, ...]
    run_to_run: float | None
    bound: Bound
    output: str | None
    verdict: RetrainVerdict
    settings: RetrainSettings
    tool: dict[str, str]
    run: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
    kind: str = "retrain"

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return to_object(self)
