"""The report of ``doctor``: what symdiag finds installed, and what it can use of the machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from symdiag.estimate import Count
from symdiag.report.parts import AnyReport

PackageStatus = Literal["ok", "missing", "too old", "broken"]
DoctorVerdict = Literal["ready", "not ready"]


@dataclass(frozen=True)
class Package:
    """A package that symdiag needs, or can use."""

    name: Annotated[str, Meta(description="what pip calls it")]
    version: Annotated[str | None, Meta(description="null: it is not installed")]
    least: Annotated[str | None, Meta(description="oldest version that will do")]
    status: PackageStatus
    purpose: Annotated[str, Meta(description="what it is for")]
    hint: Annotated[str, Meta(description="what to do; empty where nothing has to be done")] = ""


@dataclass(frozen=True)
class Threads:
    """How many threads the numerical code may use."""

    cores: Annotated[Count, Meta(description="of the machine")]
    usable: Annotated[Count, Meta(description="cores that this process may use")]
    torch: Annotated[Count | None, Meta(description="null: torch does not load")]
    numba: Annotated[Count | None, Meta(description="null: numba does not load")]
    environment: Annotated[
        dict[str, str], Meta(description="variables that set a number of threads")
    ] = field(default_factory=dict)


@dataclass(frozen=True)
class Accelerator:
    """A device that ``--device`` can name."""

    name: Annotated[str, Meta(description="as --device takes it")]
    description: str
    memory_bytes: Count | None


@dataclass(frozen=True, kw_only=True)
class Checkup(AnyReport):
    """What symdiag finds installed. Fields are only ever added within version 1."""

    python: str
    executable: Annotated[str, Meta(description="the interpreter that runs symdiag")]
    location: Annotated[str, Meta(description="the folder that symdiag was imported from")]
    platform: str
    required: tuple[Package, ...]
    optional: tuple[Package, ...]
    libraries: Annotated[
        tuple[Package, ...],
        Meta(
            description="libraries for Bayesian networks that are installed; their files are read "
            "without them"
        ),
    ]
    threads: Threads
    devices: tuple[Accelerator, ...]
    problems: Annotated[tuple[str, ...], Meta(description="one sentence each; empty when ready")]
    verdict: DoctorVerdict
    kind: Literal["doctor"] = "doctor"


KIND = Checkup
