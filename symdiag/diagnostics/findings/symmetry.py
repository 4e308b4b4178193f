"""SYM101-SYM107: what the symmetry group rests on."""

from __future__ import annotations

from collections.abc import Iterator

from symdiag.diagnostics.diagnosis import Context, Finding, Severity
from symdiag.errors import Explanation

EXPLANATIONS = (
    Explanation(
        code="SYM101",
        title="A claimed symmetry does not hold",
        meaning=(
            "Applying random elements of this group changed the network's outputs beyond "
            "rounding, so it is not a symmetry of the function. The group was left out; every "
            "figure is about the others only."
        ),
        action=(
            "Give the true architecture with --model package.module:factory, or a corrected "
            "--spec spec.toml."
        ),
        reference="docs/theory/symmetry.md, 'Verification'",
    ),
    Explanation(
        code="SYM102",
        title="Activation unknown: sign flips not considered",
        meaning=(
            "A checkpoint does not say which activation the network uses. With an odd one (tanh, "
            "erf, sin, identity) flipping the sign of a unit is a symmetry too, and the group has "
            "2^n n! elements instead of n!. Only permutations were considered, so the straddling "
            "entropy may be understated."
        ),
        action=(
            "Pass --activation tanh (or relu, …), or store it in a sidecar file or safetensors "
            "metadata."
        ),
        reference="docs/theory/symmetry.md, 'Sign flips'",
    ),
    Explanation(
        code="SYM103",
        title="The stored prior is not invariant",
        meaning=(
            "The checkpoint's prior differs between interchangeable units, so the true posterior "
            "is not symmetric and the symmetrised bound with this prior does not hold."
        ),
        action=(
            "Read the straddling entropy as a statement about q alone; do not credit symmetry with "
            "lost evidence."
        ),
        reference="Gelberg et al. 2024, section 3; docs/theory/symmetry.md, 'Priors'",
    ),
    Explanation(
        code="SYM104",
        title="Something was assumed",
        meaning=(
            "The file does not determine this, or symdiag does not follow the network there; the "
            "figures rest on what is stated."
        ),
        action="Settle it with --activation, --scale-transform, --model or --spec.",
        reference="docs/theory/symmetry.md, 'From the checkpoint alone'",
    ),
    Explanation(
        code="SYM105",
        title="Deterministic weights pin units",
        meaning=(
            "Part of the network has no posterior: a deterministic weight is a density of zero "
            "width, and units that differ in one cannot exchange, however wide the rest of their "
            "posterior is."
        ),
        action="Nothing to do; the straddling of such units is zero by construction.",
        reference="docs/theory/straddling.md, 'What cannot exchange'",
    ),
    Explanation(
        code="SYM106",
        title="Only the marginals of a correlated posterior were used",
        meaning=(
            "The posterior has correlations between weights, but its covariance is too large to "
            "use exactly, so the figures describe the product of its marginals."
        ),
        action="Treat the figures as those of the mean-field approximation of this posterior.",
        reference="docs/theory/straddling.md, 'What cannot exchange'",
    ),
    Explanation(
        code="SYM107",
        title="The network is assumed",
        meaning=(
            "A file holds tensors, no graph. These tensors form a plain chain, but other networks "
            "fit them as well: two vectors have one width, so a skip connection, a shared layer or "
            "another order is possible, and would tie or fix groups that the chain leaves free. "
            "The figures are those of the chain, and the verdict holds if it is one."
        ),
        action=(
            "Give the module with --model package.module:factory (Bayesian modules are taken as "
            "they are), its groups with --spec, or --assume-chain if it is a plain chain."
        ),
        reference="docs/theory/symmetry.md, 'What a file determines'",
    ),
)

_SAID_ELSEWHERE = ("activation unknown", "prior-not-invariant", "read as a plain chain")


_SETTLE = "settle it with --model, --spec, or the option named"


def find(context: Context) -> Iterator[Finding]:
    """Everything that limits or conditions the figures."""
    if context.assumed_network:
        hint = "--model package.module:factory, --spec FILE, or --assume-chain if it is one"
        yield _finding("SYM107", "warning", None, context.assumed_network, hint)
    for d in context.dropped:
        message = f"group {d.group} changes the outputs by {d.error:.2g}: left out"
        yield _finding(
            "SYM101", "warning", d.group, message, _naming(context), d.error, d.tolerance
        )
    if context.activation is None and context.groups:
        yield _finding(
            "SYM102",
            "info",
            None,
            "activation unknown: sign flips were not considered",
            f"say which: {context.analyze} --activation ACTIVATION"
            if context.analyze
            else "say which with activation=",
        )
    for name in context.prior_not_invariant:
        yield _finding(
            "SYM103",
            "warning",
            None,
            f"the stored prior of {name} differs between units",
            "what it means: symdiag explain SYM103",
        )
    for text in context.assumptions:
        # SYM102, SYM103 and SYM105 say these with their numbers.
        if text.startswith(_SAID_ELSEWHERE) or "deterministic tensors" in text:
            continue
        # read off a traced network: nothing is left to settle
        held = "units held fixed (" in text
        hint = "their symmetry, if they have any, is not counted" if held else _SETTLE
        yield _finding("SYM104", "info", None, text, hint)
    if context.deterministic_parameters:
        share = context.deterministic_parameters / max(1, context.parameters)
        count = context.deterministic_parameters
        message = (
            f"{count} weights ({share:.0%}) are deterministic: units that differ in one cannot swap"
        )
        yield _finding("SYM105", "info", None, message, "")
    if context.correlated:
        yield _finding(
            "SYM106",
            "warning",
            None,
            "correlations between weights were ignored (marginals only)",
            "",
        )


def _naming(context: Context) -> str:
    """How to say what the network is, unless a module was given and is itself what is wrong."""
    if not context.analyze or "--model" in context.analyze:
        return "correct the module, or give the groups as a spec file"
    return f"name the network: {context.analyze} --model MODULE:FACTORY"


def _finding(
    code: str,
    severity: Severity,
    group: str | None,
    message: str,
    hint: str,
    measured: float | None = None,
    threshold: float | None = None,
) -> Finding:
    return Finding(code, severity, group, (), message, measured, threshold, hint)
