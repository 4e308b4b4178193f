"""What ``inspect`` found in a file."""

from __future__ import annotations

import math

from symdiag.report.document import (
    Block,
    Bullets,
    Check,
    Column,
    Document,
    Facts,
    Paragraph,
    Section,
    Table,
)
from symdiag.report.kinds.inspect import Inspection
from symdiag.report.text import number, plural

_CHECKED = "checked against the module's outputs"
_UNCHECKED = "not yet verified: analyze does that"


def document(report: Inspection) -> Document:
    """File, tensors, architecture, groups, and what was ignored."""
    remarks = _remarks(report)
    sections = (
        Section("Problem", _problem(report)),
        Section("File", (Facts(_facts(report)),)),
        Section("Weights", _weights(report)),
        Section("Layers", _layers(report)),
        Section(f"Hidden groups ({_CHECKED if report.verified else _UNCHECKED})", _groups(report)),
        Section("Ignored and assumed", (Bullets(remarks),) if remarks else ()),
        Section("Stored tensors", _stored(report), detail=report.problem is None),
    )
    return Document(
        subject=report.path,
        verdict="inspected" if report.problem is None else "error",
        tone="plain" if report.problem is None else "warn",
        headline=_headline(report),
        sections=tuple(s for s in sections if s.blocks),
        conditions=remarks,
        checks=(
            Check("inspect", "passed" if report.problem is None else "error", _headline(report)),
        ),
    )


def _headline(report: Inspection) -> str:
    # The tensors were understood, only the network was not: not the same failure.
    if report.problem is not None and report.dialect is not None:
        weights = plural(report.parameters, "weight")
        return (
            f"A {report.dialect} posterior over {weights}, whose hidden groups could not be found."
        )
    if report.problem is not None:
        tensors = plural(len(report.stored), "tensor")
        return f"A {report.container} file with {tensors}, not read as a posterior."
    order = "" if report.log_order is None else f"; |G| = {power_of_ten(report.log_order)}"
    return f"A {report.dialect} posterior over {plural(report.parameters, 'weight')}{order}."


def power_of_ten(log_order: float) -> str:
    """exp(log_order): in full while it is short, as a power of ten beyond."""
    return f"{math.exp(log_order):.0f}" if log_order < 16 else f"10^{log_order / math.log(10):.2f}"


def _problem(report: Inspection) -> tuple[Block, ...]:
    problem = report.problem
    if problem is None:
        return ()
    hint = (Paragraph(f"Hint: {problem.hint}"),) if problem.hint else ()
    return (Paragraph(f"[{problem.code}] {problem.message}", "warn"), *hint)


def _facts(report: Inspection) -> tuple[tuple[str, str], ...]:
    facts = [("container", report.container), ("sha256", report.sha256 or "")]
    facts += [("dialect", report.dialect or ""), ("scales stored as", report.scale_transform or "")]
    if report.scale_range is not None:
        facts.append(
            ("posterior stds", f"{report.scale_range[0]:.3g} to {report.scale_range[1]:.3g}")
        )
    facts += [("network", line.partition(" ")[2]) for line in report.network_lines]
    if report.problem is None:
        facts.append(
            ("activation", report.activation or "unknown: sign flips cannot be considered")
        )
    facts += [(f"metadata {key}", value) for key, value in report.metadata.items()]
    return tuple((label, value) for label, value in facts if value)


def _weights(report: Inspection) -> tuple[Block, ...]:
    columns = (
        Column("tensor", numeric=False),
        Column("shape", numeric=False),
        Column("std min"),
        Column("std max"),
    )
    rows = tuple(
        (t.name, _shape(t.shape), _std(t.scale_min), _std(t.scale_max)) for t in report.tensors
    )
    return (Table(columns, rows),) if rows else ()


def _std(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "scalar"


def _layers(report: Inspection) -> tuple[Block, ...]:
    columns = (
        Column("layer", numeric=False),
        Column("kind", numeric=False),
        Column("shape", numeric=False),
    )
    rows = tuple((layer.name, layer.kind, _shape(layer.shape)) for layer in report.layers)
    return (Table(columns, rows),) if rows else ()


def _groups(report: Inspection) -> tuple[Block, ...]:
    columns = (
        Column("group", numeric=False),
        Column("units"),
        Column("sign flips", numeric=False),
        Column("log|G|"),
        Column("tensors", numeric=False),
    )
    rows = tuple(
        (
            g.name,
            str(g.width),
            "yes" if g.signed else "no",
            number(g.log_order),
            ", ".join(g.tensors),
        )
        for g in report.groups
    )
    if not rows and report.problem is None:
        return (
            Paragraph(
                "None: no set of units can be reordered without changing the outputs, as far as "
                "is known."
            ),
        )
    return (Table(columns, rows, "log|G| in nats."),) if rows else ()


def _remarks(report: Inspection) -> tuple[str, ...]:
    assumed = tuple(f"assumed: {text}" for text in report.assumptions)
    return (*assumed, *(f"ignored: {key} ({reason})" for key, reason in report.ignored))


def _stored(report: Inspection) -> tuple[Block, ...]:
    columns = (
        Column("key", numeric=False),
        Column("shape", numeric=False),
        Column("dtype", numeric=False),
    )
    rows = tuple((t.key, _shape(t.shape), t.dtype) for t in report.stored)
    return (Table(columns, rows),) if rows else ()
