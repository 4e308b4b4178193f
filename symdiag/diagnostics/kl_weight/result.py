"""What a report says of the KL's weight. Field names are the JSON contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from symdiag.estimate import Count, Extended

Status = Literal["ok", "not-stationary", "undetermined"]
"""``ok``: the value holds within its interval. ``not-stationary``: the posterior is not where
training at any one weight would leave it. ``undetermined``: no weight is informed by the data
enough to tell."""

_Weight = Annotated[float | None, Meta(description="null: no weight of the network tells")]
_Error = Annotated[Extended, Meta(description="standard error; null: not finite")]
_Relative = Annotated[Extended, Meta(ge=0, description="null: not finite")]


@dataclass(frozen=True)
class Part:
    """The weight of the KL over some of the parameters."""

    name: str
    value: _Weight
    std_error: _Error
    informative: Annotated[float, Meta(ge=0, description="parameters that tell, effectively")]


@dataclass(frozen=True)
class Cause:
    """A usual loss that would weigh the KL as measured."""

    name: Annotated[str, Meta(description="stable, kebab-case")]
    weight: Annotated[float, Meta(description="what it would give")]
    text: str
    library: str | None = None
    batch_size: Annotated[int | None, Meta(description="that it supposes")] = None


@dataclass(frozen=True)
class Continuation:
    """What became of the reading when training went on at the weight measured, in memory."""

    steps: Count
    value: Annotated[_Weight, Meta(description="read after them")]
    status: Status
    moved: Annotated[float | None, Meta(description="log of it over the value at the checkpoint")]
    gain: Annotated[float, Meta(description="of E[log p] − T·KL in these steps, nats")]


@dataclass(frozen=True)
class KlWeight:
    """The weight T of the KL that a posterior is stationary at, and whether it is.

    T = 1 is the ELBO, less a posterior that trusts the data more, more one that trusts the prior.
    """

    value: _Weight
    std_error: _Error
    lower: Extended
    upper: Extended
    method: Annotated[str, Meta(description="how E[log p] was differentiated")]
    samples: Annotated[Count, Meta(description="draws of the outputs on all points")]
    status: Status
    fit: Annotated[float, Meta(description="R² about zero of the line over log stds")]
    scatter: Annotated[
        _Relative, Meta(description="spread between weights beyond Monte Carlo error, of the value")
    ]
    unsettled: Annotated[
        _Relative,
        Meta(
            description="distance from stationarity, as a share of what dropping the KL would make "
            "it: means and log stds, natural metric"
        ),
    ]
    intercept: Annotated[Extended, Meta(description="of the line with one, over the value")]
    intercept_error: _Error
    informative: Annotated[float, Meta(ge=0, description="log stds that tell, effectively")]
    convention: Annotated[
        str, Meta(description="how the KL is spread over tensors: summed, tensor-mean, layer-mean")
    ]
    means: Annotated[Part, Meta(description="the same from means alone")]
    halves: Annotated[tuple[Part, ...], Meta(description="random halves of the log stds")]
    layers: Annotated[tuple[Part, ...], Meta(description="tensor by tensor, over log stds")]
    causes: tuple[Cause, ...]
    reasons: Annotated[tuple[str, ...], Meta(description="why it is not ok")]
    assumptions: tuple[str, ...]
    noise_std: Annotated[float | None, Meta(description="used, where the likelihood has one")]
    squared_error_weight: Annotated[
        float | None,
        Meta(description="w in mean squared error + w·KL with the same optimum; needs no noise"),
    ]
    points: Annotated[
        tuple[tuple[float, float, float], ...],
        Meta(description="sample of log stds: ∂KL, ∂E[log p] and its error"),
    ]
    continued: Continuation | None = None

    @property
    def differs(self) -> bool:
        """Whether it is known, and is not 1 for every weight alike."""
        known = self.status == "ok" and self.value is not None
        return known and not (self.convention == "summed" and self.lower <= 1.0 <= self.upper)
