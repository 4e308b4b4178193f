"""Several posteriors on one data set, side by side."""

from __future__ import annotations

from symdiag.report.document import Bullets, Column, Document, Section, Table
from symdiag.report.kinds.evidence import Candidate, Contrast, EvidenceTable, Quantity
from symdiag.report.text import number, plural

_CAPTION = (
    "L, I, H, L^G in nats summed over the data: ELBO, I(g; ω), H(g|ω), L + I. KL: weight of the KL "
    "it is stationary at, ? where not stationary. k, k^G: Pareto k of p/q and p/q^G."
)
_QUANTITIES: dict[Quantity, str] = {
    "elbo": "L",
    "symmetrized": "L^G",
    "straddling_entropy": "H",
    "nll": "test NLL",
}
_WARNING = (
    "L^G is the better bound on the evidence, not a forecast of predictions: over 72 runs its rank "
    "correlation with test NLL was .77 within a width, that of L .71, and across widths both fail"
)


def document(report: EvidenceTable) -> Document:
    """The figures, then what of their differences is more than chance."""
    pairs = [c for c in report.contrasts if c.quantity == "symmetrized"]
    apart = sum(c.significant for c in pairs)
    best = max(report.models, key=lambda m: m.symmetrized.value)
    ties = sum(best.name in (c.first, c.second) and not c.significant for c in pairs)
    alone = f", {plural(ties, 'other')} not told apart from it" if ties else ""
    headline = (
        f"L^G tells {apart} of {plural(len(pairs), 'pair')} of files apart; it is largest for "
        f"{best.name} ({number(best.symmetrized.value, 1)} nats{alone})."
    )
    names = _short([model.name for model in report.models])
    return Document(
        subject=plural(len(report.models), "posterior"),
        verdict=report.verdict,
        tone="plain",
        headline=headline,
        sections=(
            Section("Evidence side by side", _figures(report, names)),
            Section("Differences to the first file", (_differences(report, names),)),
            Section("What it does not say", (Bullets((_WARNING,)),)),
        ),
        conditions=(_WARNING,),
    )


def _short(names: list[str]) -> dict[str, str]:
    """Names without the folder that all of them are in: tables have little room."""
    split = [name.replace("\\", "/").split("/") for name in names]
    depth = 0
    while all(len(parts) > depth + 1 and parts[depth] == split[0][depth] for parts in split):
        depth += 1
    short = ["/".join(parts[depth:]) for parts in split]
    return dict(zip(names, short, strict=True))


def _figures(report: EvidenceTable, names: dict[str, str]) -> tuple[Table, ...]:
    """Evidence, and test scores apart: together they are too wide for a terminal."""
    headers = ("L", "I", "H", "L^G", "KL", "k", "k^G")
    columns = (Column("file", numeric=False), *map(Column, headers))
    rows = tuple((names[model.name], *_row(model)) for model in report.models)
    scores = list(dict.fromkeys(score for m in report.models for score in m.test or {}))
    tested = tuple(
        (names[m.name], *(number((m.test or {}).get(score), 3) for score in scores))
        for m in report.models
    )
    heads = (Column(f"test {score.replace('_', ' ')}") for score in scores)
    first = Table(columns, rows, _CAPTION)
    return (first, Table((columns[0], *heads), tested)) if scores else (first,)


def _row(model: Candidate) -> tuple[str, ...]:
    doubt = "" if model.kl_weight_status in ("", "ok") else "?"
    return (
        number(model.elbo.value, 1),
        number(model.mutual_information.value, 1),
        number(model.straddling_entropy.value, 2),
        number(model.symmetrized.value, 1),
        "n/a" if model.kl_weight is None else f"{model.kl_weight:.3g}{doubt}",
        number(model.pareto_k, 2),
        number(model.pareto_k_symmetrized, 2),
    )


def _differences(report: EvidenceTable, names: dict[str, str]) -> Table:
    first = report.models[0].name
    present = [q for q in _QUANTITIES if any(c.quantity == q for c in report.contrasts)]
    columns = (Column("file", numeric=False), *(Column(_QUANTITIES[q]) for q in present))
    found = {(c.second, c.quantity): c for c in report.contrasts if c.first == first}
    rows = tuple(
        (names[model.name], *(_contrast(found.get((model.name, q))) for q in present))
        for model in report.models[1:]
    )
    caption = (
        "This file less the first, ± 2 standard errors, paired draws and test points where they "
        "are the same. *: beyond 3 standard errors and what the methods leave open."
    )
    return Table(columns, rows, caption)


def _contrast(found: Contrast | None) -> str:
    if found is None:
        return "n/a"
    error = "" if found.std_error is None else f" ± {number(2 * found.std_error, 2)}"
    return f"{number(found.difference, 2)}{error}{'*' if found.significant else ''}"
