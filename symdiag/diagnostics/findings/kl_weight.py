"""SYM301, SYM302: the KL was not weighted by 1, or its weight cannot be read yet."""

from __future__ import annotations

import math
from collections.abc import Iterator

from symdiag.diagnostics.diagnosis import Context, Finding
from symdiag.diagnostics.kl_weight.result import KlWeight
from symdiag.errors import Explanation

EXPLANATIONS = (
    Explanation(
        code="SYM301",
        title="The KL was weighted by another factor than 1",
        meaning=(
            "Variational inference maximises E[log p(y|x,ω)] − T·KL with T = 1. At the optimum "
            "the gradients of both terms balance for every weight, so checkpoint and data tell T: "
            "here it is not 1. A T above 1 draws weights to the prior and switches units off, a T "
            "below 1 makes stds too small. The usual cause is a loss that is averaged over a "
            "minibatch beside a KL that is not, or a library's KL that is an average; the message "
            "names those whose factor fits. It may be meant (a tempered posterior). Where the "
            "noise std was not given, it was estimated, and T scales with its square."
        ),
        action=(
            "Look at the loss: per minibatch of B of N points it should be the mean negative log "
            "likelihood plus KL/N, with the KL summed over all weights. Say --noise, --prior-std "
            "(or --prior-mixture) and --batch-size as they were in training, so that the reading assumes less."
        ),
        reference="docs/kl-weight.md, 'What the meter reads'",
    ),
    Explanation(
        code="SYM302",
        title="The weight of the KL cannot be read: not stationary",
        meaning=(
            "No single weight of the KL balances the gradients at this checkpoint: training was "
            "stopped before means and stds had settled, the learning rate was not lowered at the "
            "end, likelihood, noise or prior were not those of training, or the objective was "
            "another, such as the symmetrised one. What is shown is the best fit, and no claim."
        ),
        action=(
            "Train on with a falling learning rate, or run `symdiag analyze MODEL --data "
            "TRAIN.npz --continue 2000`: it trains on in memory and says how far the reading moves."
        ),
        reference="docs/kl-weight.md, 'When it says not stationary'",
    ),
)


def find(context: Context) -> Iterator[Finding]:
    """At most one: a weight other than 1, or none that can be read."""
    weight = context.kl_weight
    if weight is None or weight.value is None:
        return
    if weight.differs:
        yield _weighted(weight)
    elif weight.status == "not-stationary":
        yield _unsettled(weight)


def figure(weight: KlWeight) -> str:
    """Value and half of its interval, to the figures that the interval leaves."""
    assert weight.value is not None
    half = 0.5 * (weight.upper - weight.lower)
    if not math.isfinite(half) or half <= 0.0:
        return f"{weight.value:.2g}"
    digits = max(0, 1 - math.floor(math.log10(half)))
    # as many decimals as the half-width has two figures of
    return f"{weight.value:.{min(digits, 9)}f} ± {half:.{min(digits, 9)}f}"


def _weighted(weight: KlWeight) -> Finding:
    guess = f": {weight.causes[0].text}?" if weight.causes else ""
    assumed = "; ".join(weight.assumptions)
    return Finding(
        code="SYM301",
        # an estimated noise std may be all that differs
        severity="info" if any("estimated" in text for text in weight.assumptions) else "warning",
        group=None,
        neurons=(),
        message=f"the KL is weighted {figure(weight)}, not 1{guess} (assuming {assumed})",
        measured=weight.value,
        threshold=1.0,
        hint="the loss should weigh the KL by 1/N beside a mean over points",
    )


def _unsettled(weight: KlWeight) -> Finding:
    return Finding(
        code="SYM302",
        severity="info",
        group=None,
        neurons=(),
        message=f"no one weight of the KL fits this posterior: {'; '.join(weight.reasons)}",
        measured=None,
        threshold=None,
        hint="train on with a falling learning rate, or see what --continue 2000 does",
    )
