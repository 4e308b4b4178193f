"""The KL's weight in an ``analyze`` report, and whether it is why units have collapsed."""

from __future__ import annotations

import math

from symdiag.diagnostics.findings.kl_weight import figure
from symdiag.diagnostics.kl_weight.result import KlWeight, Part
from symdiag.report.document import Block, Bullets, Column, Facts, Table
from symdiag.report.kinds.analyze import Report
from symdiag.report.text import number, plural

_HEAVY = 1.1  # lower end of the KL's weight from which it counts as a cause of collapse


def kl_weight_blocks(report: Report) -> tuple[Block, ...]:
    """Value, what it rests on, what would cause it, and tensor by tensor."""
    weight = report.elbo.kl_weight if report.elbo is not None else None
    if weight is None:
        return ()
    blocks: list[Block] = [Facts(_rows(weight))]
    if weight.causes:
        blocks.append(Bullets(tuple(_cause(weight, index) for index in range(len(weight.causes)))))
    told = [part for part in weight.layers if part.value is not None]
    if len(told) > 1:
        columns = (Column("tensor", numeric=False), Column("KL weight"), Column("log stds"))
        rows = tuple((part.name, _figure(part), f"{part.informative:.0f}") for part in told)
        blocks.append(Table(columns, rows, "Log stds that tell, effectively, of each tensor."))
    return tuple(blocks)


def _rows(weight: KlWeight) -> tuple[tuple[str, str], ...]:
    if weight.value is None:
        return (("KL weight", f"undetermined: {'; '.join(weight.reasons)}"),)
    inside = f"[{_short(weight.lower)}, {_short(weight.upper)}]"
    rows = [
        ("KL weight", f"{_short(weight.value)}, interval {inside}: {_verdict(weight)}"),
        ("fit", f"R² {weight.fit:.2f}, scatter {weight.scatter:.0%}, unsettled {_off(weight)}"),
        ("from means", _figure(weight.means)),
        ("assuming", "; ".join(weight.assumptions)),
    ]
    if weight.squared_error_weight is not None:
        same = f"mean squared error + {weight.squared_error_weight:.3g}·KL has the same optimum"
        rows.append(("without a noise std", same))
    if weight.continued is not None:
        rows.append(("continued", _continued(weight)))
    return tuple(rows)


def _verdict(weight: KlWeight) -> str:
    if weight.status != "ok":
        return f"no claim, {weight.status.replace('-', ' ')} ({'; '.join(weight.reasons)})"
    if not weight.differs:
        return "1, as in the ELBO"
    return "the KL counts " + ("too much" if (weight.value or 0.0) > 1.0 else "too little")


def _off(weight: KlWeight) -> str:
    return f"{weight.unsettled:.0%}" if math.isfinite(weight.unsettled) else "n/a"


def _continued(weight: KlWeight) -> str:
    after = weight.continued
    assert after is not None
    if after.value is None or after.moved is None:
        return f"after {plural(after.steps, 'more step')} no weight can be read"
    gained = f"{number(after.gain, 1)} nats gained at this weight"
    moved = f"moved by {math.expm1(after.moved):+.0%}, {gained}"
    return (
        f"after {plural(after.steps, 'more step')} {_short(after.value)} "
        f"({after.status.replace('-', ' ')}): {moved}"
    )


def _cause(weight: KlWeight, index: int) -> str:
    cause = weight.causes[index]
    library = f" ({cause.library})" if cause.library else ""
    return f"{_short(cause.weight)} would be: {cause.text}{library}"


def _figure(part: Part) -> str:
    return "n/a" if part.value is None else f"{_short(part.value)} ± {_short(2 * part.std_error)}"


def _short(value: float) -> str:
    """Three figures, as factors range over many powers of ten."""
    return f"{value:.3g}" if math.isfinite(value) else "∞"


def collapse_cause(report: Report) -> str:
    """Why units have collapsed, as far as it was measured; empty without any or without data."""
    weight = report.elbo.kl_weight if report.elbo is not None else None
    off = sum(neuron.collapsed for group in report.groups for neuron in group.neurons)
    if weight is None or not off or weight.status != "ok" or weight.value is None:
        return ""
    factor = figure(weight) + _if_estimated(weight)
    straddling, limit = report.total.straddling_entropy, report.settings.max_straddling
    straddles, little = straddling.lower > limit, straddling.upper <= limit
    units = plural(off, "collapsed unit")
    if weight.lower > _HEAVY:
        share = f"the KL is weighted {factor} times"
        if straddles:
            return f"{units}: {share}, and straddling is rewarded besides: both draw them off."
        if little:
            return f"{units}: {share}, and little straddling is left to reward: because of the KL."
        return f"{units}: {share}; whether straddling draws them off too is open."
    if straddles:
        return (
            f"{units}: not because of the KL's factor ({factor}); the ELBO's reward for straddling "
            "or the data, which the control run of `symdiag retrain` tells apart."
        )
    if little:
        return (
            f"{units}: neither because of the KL's factor ({factor}) nor because of straddling: "
            "that leaves the data and the prior."
        )
    return (
        f"{units}: not because of the KL's factor ({factor}); whether straddling draws them off "
        "is open."
    )


def _if_estimated(weight: KlWeight) -> str:
    """The condition that T stands under where the noise std was not given.

    A net that has collapsed has large residuals: with these for the noise, any factor looks small.
    """
    if weight.noise_std is None or not any("estimated" in text for text in weight.assumptions):
        return ""
    return f", if training had learned the noise std: {weight.noise_std:.3g}"
