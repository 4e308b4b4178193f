"""The report of ``retrain``: before, control and retrained posterior side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from symdiag.estimate import LATER, Count, Estimate, Extended, ExtendedBelow
from symdiag.report.kinds.analyze import ModelInfo
from symdiag.report.parts import NetworkReport

if TYPE_CHECKING:
    from symdiag.objectives.likelihoods.interface import Scores

RunKind = Literal["before", "main", "continued", "scratch"]
RetrainVerdict = Literal[
    "improved",
    "evidence up, predictions worse",
    "no measurable benefit",
    "worse",
    "nothing to gain",
]


@dataclass(frozen=True)
class TestScores:
    """Quality on the test data."""

    __test__ = False  # not a test, whatever pytest makes of the name

    nll: Annotated[Extended, Meta(description="nats per point")]
    metric_name: Annotated[str, Meta(description="rmse or accuracy")]
    metric: Extended
    calibration_error: Extended

    @classmethod
    def of(cls, scores: Scores) -> TestScores:
        """What a likelihood's scores say, without the CDF behind them."""
        return cls(scores.nll, scores.metric_name, scores.metric, scores.calibration_error)


@dataclass(frozen=True)
class Figures:
    """One posterior: evidence terms in nats over the training set, and test scores."""

    name: Annotated[str, Meta(description="before, control (the one compared with) or retrained")]
    elbo: Estimate
    symmetrized: Annotated[
        Estimate,
        Meta(
            description="its lower end is a lower bound on the log evidence (it takes the upper "
            "end of H); its upper end is no bound"
        ),
    ]
    straddling_entropy: Estimate
    log_likelihood: Estimate
    kl: float
    active_units: int
    units: int
    noise_std: float | None
    test: TestScores | None


@dataclass(frozen=True)
class EvaluatedRun:
    """One of all the posteriors that were evaluated, and what they are compared by."""

    name: Annotated[str, Meta(description="before, retrained, control-1, …")]
    kind: Annotated[
        RunKind,
        Meta(
            description="before: the checkpoint; main: by the chosen objective; continued: by the "
            "plain ELBO from where main starts; scratch: by the plain ELBO from random means and "
            "small stds, in long full-batch runs with KL annealing"
        ),
    ]
    elbo: Estimate
    straddling_entropy: Estimate
    symmetrized: Estimate
    test: Annotated[TestScores | None, Meta(description="null without test data")]


@dataclass(frozen=True)
class RacedStart:
    """One start of a race (``--starts``) after a short run of the main objective."""

    name: Annotated[str, Meta(description="start-0, start-1, …")]
    origin: Annotated[
        Literal["start", "draw", "scratch"],
        Meta(
            description="start: where --from says; draw: means drawn from the checkpoint's "
            "posterior, small stds; scratch: a fresh net"
        ),
    ]
    steps: Count
    symmetrized: Annotated[Estimate, Meta(description="L^G after these steps, certified H")]
    chosen: Annotated[bool, Meta(description="the largest value: the main run goes on from there")]


@dataclass(frozen=True)
class Change:
    """retrained − reference of one quantity, with an interval of about 95 % where there is one."""

    name: str
    value: float
    lower: float | None
    upper: float | None


@dataclass(frozen=True)
class TrainingCurve:
    """What the monitor saw of one run: cheap estimates from the same few draws at every look."""

    run: Annotated[str, Meta(description="main, control-1, …")]
    steps: tuple[Count, ...]
    elbo: Annotated[tuple[Extended, ...], Meta(description="nats, at these steps")]
    straddling_entropy: Annotated[tuple[Extended, ...], Meta(description="nats")]


@dataclass(frozen=True)
class Bound:
    """The best lower bound on the log evidence that this run can vouch for."""

    run: str
    value: Annotated[ExtendedBelow, Meta(description="null: minus infinity")]
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
    held: Annotated[
        tuple[str, ...],
        LATER,
        Meta(description="random numbers that the network does not read: kept as they are"),
    ] = ()
    statistics: Annotated[
        tuple[str, ...],
        LATER,
        Meta(description="running statistics that move with units: frozen"),
    ] = ()


@dataclass(frozen=True, kw_only=True)
class RetrainReport(NetworkReport):
    """Before, control and retrained posterior side by side, nats.

    Fields are only ever added within version 1.
    """

    model: ModelInfo
    log_order: float
    before: Figures
    control: Figures | None
    retrained: Figures
    compared_with: Annotated[
        Literal["control", "before"],
        Meta(
            description="reference of `changes`: the control run of equal steps with the largest "
            "L^G, else the checkpoint itself"
        ),
    ]
    compared_run: Annotated[
        str | None,
        LATER,
        Meta(description="which of `runs` that is; its figures are `control` or `before`"),
    ] = None
    changes: tuple[Change, ...]
    changes_to_before: tuple[Change, ...]
    run_to_run: Annotated[
        float | None,
        Meta(
            description="half-width that training noise alone gives a difference in L^G, from the "
            "spread of the continued control runs; part of the interval that decides the verdict"
        ),
    ]
    run_to_run_nll: Annotated[
        float | None,
        LATER,
        Meta(description="the same for test NLL per point; null without test data"),
    ] = None
    runs: Annotated[
        tuple[EvaluatedRun, ...],
        LATER,
        Meta(description="all that were evaluated, every control among them"),
    ] = ()
    best_evidence: Annotated[
        str | None, LATER, Meta(description="which of `runs` has the largest value of L^G")
    ] = None
    best_predictions: Annotated[
        str | None,
        LATER,
        Meta(description="which of `runs` has the lowest test NLL; null without test data"),
    ] = None
    race: Annotated[
        tuple[RacedStart, ...],
        LATER,
        Meta(
            description="empty without one; main went on from the chosen start, and controls took "
            "the steps of its short run too"
        ),
    ] = ()
    bound: Bound
    output: Annotated[str | None, Meta(description="null: nothing was written")]
    verdict: RetrainVerdict
    settings: RetrainSettings
    curves: Annotated[
        tuple[TrainingCurve, ...],
        LATER,
        Meta(description="of each run, at most 200 looks; empty where nothing was trained"),
    ] = ()
    kind: Literal["retrain"] = "retrain"

    main_table = "figures"


KIND = RetrainReport
