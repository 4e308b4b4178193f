"""What ``doctor`` found."""

from __future__ import annotations

from symdiag.report.document import (
    Bullets,
    Check,
    Column,
    Document,
    Facts,
    Paragraph,
    Section,
    Table,
)
from symdiag.report.kinds.doctor import Checkup, Package
from symdiag.report.text import plural

_COLUMNS = tuple(Column(header, numeric=False) for header in ("package", "version", "for"))


def document(report: Checkup) -> Document:
    """Problems first; what is in order below."""
    ready = report.verdict == "ready"
    missing = [p for p in report.optional if p.status != "ok"]
    version = report.tool.get("version", "")
    headline = (
        f"READY: symdiag {version} on Python {report.python}; "
        + (f"{plural(len(missing), 'optional package')} not installed." if missing else "complete.")
        if ready
        else f"NOT READY: {report.problems[0] if report.problems else 'see below'}"
    )
    problems = (Section("Problems", (Bullets(report.problems),)),) if report.problems else ()
    return Document(
        subject="symdiag doctor",
        verdict=report.verdict,
        tone="good" if ready else "bad",
        headline=headline,
        sections=(
            *problems,
            Section("This installation", (_installation(report),)),
            Section("Required packages", (_table(report.required),)),
            Section("Optional packages", (_table(report.optional), *_missing(missing))),
            Section("Libraries for Bayesian networks", (_libraries(report),)),
        ),
        checks=(Check("installation", "passed" if ready else "failed", headline),),
    )


def _installation(report: Checkup) -> Facts:
    threads = report.threads
    counts = [
        f"{name} {count}"
        for name, count in (("torch", threads.torch), ("numba", threads.numba))
        if count is not None
    ]
    usable = f"{threads.usable} of {plural(threads.cores, 'core')} usable"
    devices = [
        d.name
        if d.memory_bytes is None
        else f"{d.name} ({_described(d.description, d.memory_bytes)})"
        for d in report.devices
    ]
    variables = [f"{name}={value}" for name, value in threads.environment.items()]
    return Facts(
        (
            ("python", f"{report.python}, {report.executable}"),
            ("symdiag from", report.location),
            ("platform", report.platform),
            ("threads", "; ".join([usable, *counts, *variables])),
            ("devices", ", ".join(devices) or "none: torch does not load"),
        )
    )


def _described(name: str, memory: int) -> str:
    return f"{name}, {memory / 2**30:.0f} GiB"


def _table(packages: tuple[Package, ...]) -> Table:
    return Table(_COLUMNS, tuple((p.name, _version(p), p.purpose) for p in packages))


def _version(package: Package) -> str:
    if package.version is None:
        return "not installed"
    return package.version if package.status == "ok" else f"{package.version}, {package.status}"


def _missing(packages: list[Package]) -> tuple[Paragraph, ...]:
    # one line to paste, rather than a hint per row
    names = " ".join(p.name for p in packages if p.status == "missing")
    return (Paragraph(f"Install what you want of these: pip install {names}"),) if names else ()


def _libraries(report: Checkup) -> Paragraph:
    found = ", ".join(f"{p.name} {p.version}" for p in report.libraries)
    return Paragraph(
        f"Installed: {found or 'none'}. Their files are read without them; a live module needs "
        "its own."
    )
