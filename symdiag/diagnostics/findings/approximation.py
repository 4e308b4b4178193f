"""SYM311 to SYM313: how near q is to the posterior, and whether its predictions hold."""

from __future__ import annotations

from collections.abc import Iterator

from symdiag.diagnostics.diagnosis import Context, Coverage, Finding, Importance
from symdiag.errors import Explanation

_PATIENCE = 1.5  # widths of the 95 % interval: beyond chance where three levels are looked at

_YAO = (
    "Yao, Vehtari, Simpson, Gelman 2018 (ICML); Vehtari, Simpson, Gelman, Yao, Gabry 2024 (JMLR 25:72); "
    "docs/reading-a-report.md, 'Did variational inference work?'"
)

EXPLANATIONS = (
    Explanation(
        code="SYM311",
        title="q is far from the posterior, symmetry or not",
        meaning=(
            "The weights p(D, ω)/q^G(ω) of draws from q have a tail too heavy (Pareto k above "
            "min(1 - 1/log10 S, 0.7)) to be corrected by importance sampling: a few draws carry "
            "all. q^G already has all the equivalent modes, so what is missing is no copy of a mode: "
            "correlations that a mean-field q cannot have, modes that are not equivalent, or "
            "training that has not converged. L and L^G may lie far below log p(Y|X). In high "
            "dimensions this is the rule, and it does not mean that predictions are bad: judge those "
            "by test scores and coverage."
        ),
        action=(
            "Do not read L or L^G as the evidence; use them to compare runs, if at all. Several "
            "starts, a longer run or a richer family (low rank, an ensemble) come nearer."
        ),
        reference=_YAO,
    ),
    Explanation(
        code="SYM312",
        title="q is far from the posterior by symmetry alone",
        meaning=(
            "Against q the weights p(D, ω)/q(ω) have a heavy tail, against q^G they have not: what "
            "separates q from the posterior are the equivalent modes that it leaves out."
        ),
        action="Read L^G, not L, as the bound on the evidence; predictions are those of q either way.",
        reference=_YAO,
    ),
    Explanation(
        code="SYM313",
        title="Predictive intervals do not hold what they promise",
        meaning=(
            "The share of test targets inside the central predictive intervals differs from the "
            "nominal level by more than chance (1.5 half-widths of the exact binomial interval). "
            "Too few inside: the posterior is overconfident, the noise std too small, or the test "
            "points are others than the training points. Too many: intervals are too wide, as those "
            "of a collapsed posterior with a noise std that takes in the signal are."
        ),
        action=(
            "Compare the noise std with the residuals, and test points with training points; "
            "straddling and collapse widen intervals, a KL weighted too little narrows them."
        ),
        reference="docs/reading-a-report.md, 'Did variational inference work?'",
    ),
)


def find(context: Context) -> Iterator[Finding]:
    """At most one finding on the weights and one on the intervals."""
    if context.importance is not None:
        yield from _weights(context.importance)
    off = [c for c in context.coverage if _is_off(c)]
    if off:
        yield _intervals(max(off, key=lambda c: abs(c.share - c.level)))


def _weights(found: Importance) -> Iterator[Finding]:
    plain, symmetrized = found.plain, found.symmetrized
    if symmetrized is not None and symmetrized.far:
        code, fit = "SYM311", symmetrized
        message = f"q is far from the posterior even up to symmetry: Pareto k of p/q^G is {fit.pareto_k:.2f}"
    elif symmetrized is not None and plain.far and _is_near(symmetrized.pareto_k):
        code, fit = "SYM312", plain
        message = (
            f"only symmetry separates q from the posterior: Pareto k is {plain.pareto_k:.2f} of p/q, "
            f"{symmetrized.pareto_k:.2f} of p/q^G"
        )
    else:
        return
    yield Finding(code, "info", None, (), message, fit.pareto_k, fit.reliable_below, "")


def _is_near(k: float | None) -> bool:
    return k is not None and k < 0.7


def _is_off(found: Coverage) -> bool:
    half = 0.5 * (found.upper - found.lower)
    middle = 0.5 * (found.upper + found.lower)
    return abs(middle - found.level) > _PATIENCE * half


def _intervals(worst: Coverage) -> Finding:
    narrow = worst.share < worst.level
    message = (
        f"predictive intervals are too {'narrow' if narrow else 'wide'}: those of {worst.level:.0%} "
        f"hold {worst.share:.1%} of {worst.points} test points [{worst.lower:.1%}, {worst.upper:.1%}]"
    )
    return Finding("SYM313", "warning", None, (), message, worst.share, worst.level, "")
