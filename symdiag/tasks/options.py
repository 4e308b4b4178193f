"""What tasks can be told, a dataclass per concern (training's: ``symdiag.training.config``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from symdiag.errors import UsageError
from symdiag.objectives.likelihoods import likelihood_names
from symdiag.options import Budget, Device, Option, Precision, Samples, Seed, check, offers
from symdiag.tasks._completions import activations, costs, transforms
from symdiag.tasks.retrain_options import ControlOptions, FileOptions
from symdiag.training.config import Triple, parse_one_mixture

__all__ = [
    "ComparisonOptions",
    "ControlOptions",
    "DataOptions",
    "DiagnosisOptions",
    "DrawsOptions",
    "EstimationOptions",
    "FileOptions",
    "HeldOutOptions",
    "MatchingOptions",
    "MeterOptions",
    "NetworkOptions",
    "PathOptions",
    "PruneOptions",
    "ReadingOptions",
    "WrittenOptions",
]

_LIKELIHOODS = f"{', '.join(likelihood_names())}."


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """What a file may not say about its network."""

    activation: Annotated[
        str | None,
        Option(
            "Hidden activation, such as relu or tanh. Odd ones add sign flips; "
            "unknown: permutations only.",
            env=True,
            complete=offers(activations),
        ),
    ] = None
    model: Annotated[
        Any,  # in Python also a module, a class or a function that makes one
        Option(
            "Your module, Bayesian or not, to trace. This runs your code.",
            metavar="MODULE:FACTORY",
            kind=str | None,
        ),
    ] = None
    spec: Annotated[Path | None, Option("Hand-written permutation spec (TOML).")] = None
    assume_chain: Annotated[
        bool, Option("The network is the plain chain that its tensors form.", env=True)
    ] = False


@dataclass(frozen=True, kw_only=True)
class ReadingOptions(NetworkOptions):
    """How a posterior's file is read: its network, and what its library leaves open."""

    scale_transform: Annotated[
        str | None,
        Option(
            "What an ambiguous scale parameter means: softplus, exp, identity, exp-half or sqrt.",
            env=True,
            complete=offers(transforms),
        ),
    ] = None
    companion: Annotated[
        str | Path | Sequence[str | Path | None] | None,
        Option(
            "Second file that some libraries need: once, or once per checkpoint.",
            metavar="FILE",
            kind=list[Path] | None,
        ),
    ] = None
    member: Annotated[
        str | Sequence[str | None] | None,
        Option(
            "Which of several posteriors in one file: once, or once per checkpoint.",
            metavar="NAME",
            kind=list[str] | None,
        ),
    ] = None

    def each(self, count: int) -> list[ReadingOptions]:
        """These options for each of ``count`` checkpoints, with its own companion and member.

        Raises:
            UsageError: ``bad-option`` for numbers that are neither 1 nor ``count``.
        """
        from symdiag.formats import one_each  # numpy, which help texts do without

        companions = one_each(self.companion, count, "companion")
        members = one_each(self.member, count, "member")
        return [
            replace(self, companion=companion, member=member)
            for companion, member in zip(companions, members, strict=True)
        ]


@dataclass(frozen=True, kw_only=True)
class EstimationOptions:
    """How carefully H(g|ω) is estimated."""

    precision: Precision = None
    budget: Budget = None
    samples: Samples = None
    seed: Seed = 0
    device: Device = "cpu"

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class DiagnosisOptions:
    """What ``analyze`` judges by, and what it adds to a report."""

    reference: Annotated[Any, Option("Align to this posterior first.", kind=Path | None)] = None
    infonce: Annotated[
        int | None, Option("Show the paper's estimate I^K beside ours.", metavar="K", least=2)
    ] = None
    max_straddling: Annotated[
        float, Option("Limit on the total H(g|w), nats.", env=True, least=0)
    ] = 1.0

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class HeldOutOptions:
    """Test data, and where targets stand in either file."""

    test: Annotated[
        Any, Option("Test data: adds NLL, RMSE or accuracy, and calibration.", kind=Path | None)
    ] = None
    target: Annotated[str | None, Option("Target column of csv or parquet.")] = None


@dataclass(frozen=True, kw_only=True)
class DataOptions(HeldOutOptions):
    """Training and test data, where a task can do without: files or ``Dataset``s."""

    data: Annotated[Any, Option("Training data: adds both ELBOs.", kind=Path | None)] = None

    def __post_init__(self) -> None:
        # test scores alone would be of a posterior whose likelihood nobody has fitted
        if self.test is not None and self.data is None:
            raise UsageError("--test needs --data", hint="give the training data too")


@dataclass(frozen=True, kw_only=True)
class MeterOptions:
    """How the weight of the KL is read from training data."""

    batch_size: Annotated[
        int | None, Option("Of training, where known: names causes of the KL's weight.", least=1)
    ] = None
    continue_steps: Annotated[
        int,
        Option(
            "Train on so many steps in memory, then read the KL's weight again.",
            flags=("--continue",),
            least=0,
        ),
    ] = 0

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class MatchingOptions:
    """How units are matched."""

    cost: Annotated[
        str,
        Option("w2 (means and stds), kl, hellinger or mean.", env=True, complete=offers(costs)),
    ] = "w2"
    restarts: Annotated[
        int | None, Option("Random starts. Default: as many as are cheap, up to 48.", least=0)
    ] = None
    seed: Seed = 0

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class PathOptions:
    """Data on which the straight path between two posteriors is measured."""

    data: Annotated[
        Any, Option("Data: adds ELBO and NLL along the straight path.", kind=Path | None)
    ] = None
    likelihood: Annotated[str | None, Option(_LIKELIHOODS, complete=offers(likelihood_names))] = (
        None
    )
    noise: Annotated[float | None, Option("Noise std. Default: 1.", least=1e-12)] = None
    prior_std: Annotated[
        float | None, Option("Prior std, where the checkpoint has none.", least=1e-12)
    ] = None
    prior_mixture: Annotated[
        Triple | None,
        Option(
            "Prior PI N(0, STD1²) + (1-PI) N(0, STD2²) of every weight.",
            metavar="PI,STD1,STD2",
            kind=str | None,
            parse=parse_one_mixture,
        ),
    ] = None
    samples: Annotated[int, Option("Weight draws at each point of the path.", least=1)] = 32

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class DrawsOptions:
    """How weight draws are brought to one labelling and judged."""

    chains: Annotated[bool, Option("Tensors have axes (chain, draw, ...), not (draw, ...).")] = (
        False
    )
    max_switching: Annotated[
        float,
        Option(
            "Fraction of draws off the majority labelling that is no finding.",
            env=True,
            least=0,
            most=1,
        ),
    ] = 0.05
    starts: Annotated[
        int | None, Option("Orders of the draws tried. Default: up to 6.", least=1)
    ] = None
    samples: Annotated[
        int | None, Option("Weight draws from the fitted Gaussians, for H(g|w).", least=1)
    ] = None
    seed: Seed = 0

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class ComparisonOptions:
    """What counts as a regression."""

    tolerance: Annotated[float, Option("Nats of H that B may add.", env=True, least=0)] = 0.1

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class WrittenOptions:
    """The weights that a task writes beside its report."""

    output: Annotated[
        Path | None,
        Option(
            "Write the aligned weights: a posterior in its own format, draws as npz.",
            flags=("--output", "-o"),
            metavar="FILE",
        ),
    ] = None
    overwrite: Annotated[bool, Option("Replace FILE if it is there.")] = False


@dataclass(frozen=True, kw_only=True)
class PruneOptions:
    """What may go, and what becomes of the rest."""

    tolerance: Annotated[
        float,
        Option("Largest change of the mean function, predictive stds.", least=1e-6, most=1),
    ] = 0.1
    polish: Annotated[int, Option("Steps of training the narrower net. Needs --data.", least=0)] = 0
    output: Annotated[
        Path | None, Option("Narrower checkpoint, same format.", flags=("--output", "-o"))
    ] = None

    def __post_init__(self) -> None:
        check(self)
