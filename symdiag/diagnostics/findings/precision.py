"""SYM201: what the estimate did not reach."""

from __future__ import annotations

from collections.abc import Iterator

from symdiag.diagnostics.diagnosis import Context, Finding
from symdiag.errors import Explanation

EXPLANATIONS = (
    Explanation(
        code="SYM201",
        title="The budget ended before the target",
        meaning=(
            "Weight draws are added until two standard errors fall below --precision (default "
            "0.05 nats + 1 % of the value), and deterministic bounds are computed, as far as the "
            "budget of nominal seconds allows. Something was left out; the interval reported is "
            "valid all the same, only wider or of a weaker kind."
        ),
        action="Raise --budget (nominal seconds), or accept a looser --precision.",
        reference="docs/theory/estimators.md, 'Draws, precision, budget'",
    ),
)


def find(context: Context) -> Iterator[Finding]:
    """One finding per shortfall."""
    for note in context.notes:
        hint = (
            f"spend more: {context.analyze} --budget 20" if context.analyze else "raise the budget"
        )
        yield Finding("SYM201", "info", None, (), note, None, None, hint)
