"""SYM001, SYM002: the posterior straddles equivalent modes, or may."""

from __future__ import annotations

from collections.abc import Iterator

from symdiag.diagnostics.diagnosis import Context, Finding, GroupReport
from symdiag.errors import Explanation
from symdiag.estimate import modes

PENALTY = "add symdiag.StraddlingPenalty to the loss where the posterior is trained"

EXPLANATIONS = (
    Explanation(
        code="SYM001",
        title="The posterior straddles equivalent modes",
        meaning=(
            "The straddling entropy H(g|ω) of this group exceeds the threshold: given a weight "
            "sample, it is uncertain by H nats which of the |G| equivalent modes it came from, so "
            "the posterior effectively covers exp(H) of them. Variational inference maximises the "
            "symmetrised evidence bound plus a bonus of H nats for straddling, so means are drawn "
            "together, stds inflated and units pruned. H bounds the evidence that the global "
            "optimum of the plain ELBO leaves on the table; from a local optimum more can be "
            "gained, and sometimes nothing is. In our study of 52 posteriors 35 of the 40 above 1 "
            "nat gained more than 1 nat of evidence, usually about a quarter of H, and none of "
            "those below did; test NLL improved measurably in 21 of the 52 and got worse in 4."
        ),
        action=(
            "Run `symdiag retrain MODEL --data TRAIN.npz -o fixed.pt` and compare with its "
            "control run; or add `symdiag.StraddlingPenalty(model)` to your own loss. Raise "
            "--max-straddling if this level is acceptable."
        ),
        reference=(
            "Gelberg et al. 2024, Thm 4.1: L^G = L + log|G| − H(g|ω); docs/reproduction.md, "
            "'5.2 Where symmetrised retraining pays'"
        ),
    ),
    Explanation(
        code="SYM002",
        title="Straddling cannot be decided at this precision",
        meaning=(
            "The interval of the total straddling entropy contains the threshold: neither `ok` "
            "nor `straddling` would be justified."
        ),
        action=(
            "Use more draws (--samples), a tighter --precision or a larger --budget; or move "
            "--max-straddling."
        ),
        reference="docs/theory/straddling.md, 'From interval to verdict'",
    ),
)


def find(context: Context) -> Iterator[Finding]:
    """One SYM001 per straddling group, or one SYM002 for an undecided total."""
    verdict = context.verdict_if_chain or context.verdict
    if verdict == "straddling":
        yield from (_straddling(context, g) for g in _culprits(context))
    if verdict == "inconclusive":
        yield _undecided(context)


def _culprits(context: Context) -> list[GroupReport]:
    """Groups that pass the threshold alone; failing that, the one that holds most of the total."""
    # H_G is at least Σ_l H_l and may exceed the threshold although no group does.
    alone = [g for g in context.groups if g.straddling_entropy.lower > context.max_straddling]
    return alone or [max(context.groups, key=lambda g: g.straddling_entropy.value)]


def _straddling(context: Context, group: GroupReport) -> Finding:
    entropy = group.straddling_entropy
    active = tuple(
        n.index
        for n in sorted(group.neurons, key=lambda n: n.retention)
        # Collapsed units are SYM003's: naming them here would bury the others.
        if n.retention < 0.5 and not n.collapsed
    )
    return Finding(
        code="SYM001",
        # On an assumed network nothing is certain enough to fail a build.
        severity="error" if context.verdict == "straddling" else "warning",
        group=group.name,
        neurons=active,
        message=(
            f"{group.name} ({group.width} units) straddles about {modes(entropy.value)} "
            f"equivalent modes: H(g|ω) = {entropy.value:.2f} nats in [{entropy.lower:.2f}, "
            f"{entropy.upper:.2f}] of at most {group.log_order:.1f}"
        ),
        measured=entropy.value,
        threshold=context.max_straddling,
        hint=context.retrain or PENALTY,
    )


def _more_draws(context: Context) -> str:
    if not context.analyze:
        return "raise samples or budget, or tighten precision"
    return f"more draws: {context.analyze} --samples {max(256, 4 * context.samples)} --budget 20"


def _undecided(context: Context) -> Finding:
    total = context.total.straddling_entropy
    return Finding(
        code="SYM002",
        severity="warning",
        group=None,
        neurons=(),
        message=(
            f"H(g|ω) lies in [{total.lower:.3g}, {total.upper:.3g}] nats, on both sides of the "
            f"threshold {context.max_straddling:g}"
        ),
        measured=total.value,
        threshold=context.max_straddling,
        hint=_more_draws(context),
    )
