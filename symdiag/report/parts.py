"""Parts that reports of several kinds share: identification, errors, where a posterior is from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from msgspec import Meta

from symdiag.estimate import LATER
from symdiag.network import NetworkSource
from symdiag.report.codec import SCHEMA_VERSION, to_object

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Tool = Annotated[
    dict[str, str],
    Meta(
        extra_json_schema={
            "required": ["name", "version"],
            "properties": {"name": {"type": "string"}, "version": {"type": "string"}},
        }
    ),
]
Volatile = Annotated[
    dict[str, Any],
    Meta(description="times, versions, host: everything that may differ between two equal runs"),
]
Pairs = Annotated[tuple[tuple[str, str], ...], Meta(description="[key, reason]")]


@dataclass(frozen=True, kw_only=True)
class AnyReport:
    """What identifies a report, and what of it is volatile. Each kind adds ``kind``, its name."""

    tool: Tool
    run: Volatile = field(default_factory=dict)
    # Last on purpose: `to_object` moves what identifies a report to the front.
    schema_version: Literal[1] = SCHEMA_VERSION

    main_table: ClassVar[str] = ""
    """The table that ``to_dataframe()`` gives where none is named; "": the first."""

    def __init_subclass__(cls) -> None:
        # before @dataclass looks: it would write a repr of every field, a screen of text
        cls.__repr__ = AnyReport.__repr__  # type: ignore[method-assign]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object: no NaN, non-finite numbers are null (see ``status`` on estimates)."""
        return to_object(self)

    # What shows a report is imported on use: rendering knows every kind, and so comes after them.

    def __repr__(self) -> str:
        from symdiag.report.notebook import line

        return line(self)

    def __str__(self) -> str:
        from symdiag.report.rendering import render

        return render(self, "text")

    def _repr_html_(self) -> str:
        from symdiag.report.notebook import html

        return html(self)

    def _repr_markdown_(self) -> str:
        from symdiag.report.rendering import render

        return render(self, "markdown")

    @property
    def tables(self) -> tuple[str, ...]:
        """Names that ``to_dataframe`` and ``to_csv`` take: the main table first."""
        from symdiag.report.records import table_names

        return table_names(self)

    def to_dataframe(self, table: str | None = None) -> Any:
        """One of ``tables`` (the main one by default) as a pandas DataFrame, a row per item.

        Raises:
            UsageError: ``missing-extra`` without pandas; ``bad-option`` for an unknown table.
        """
        from symdiag.report.records import to_dataframe

        return to_dataframe(self, table)

    def to_csv(self, path: str | Path | None = None, table: str | None = None) -> str:
        """The same as CSV text; also written to ``path`` where one is given.

        Raises:
            UsageError: ``bad-option`` for an unknown table.
            OutputError: The file exists or cannot be written.
        """
        from symdiag.formats.atomic import atomic_write
        from symdiag.report.records import to_csv

        text = to_csv(self, table)
        if path is not None:
            atomic_write(Path(path), text.encode("utf-8", "backslashreplace"), overwrite=False)
        return text

    def plot(
        self,
        figure: str | None = None,
        *,
        axes: Axes | Sequence[Axes] | None = None,
        theme: str = "light",
    ) -> Figure:
        """One figure by name, or a page of those that say most (docs/figures.md).

        Args:
            figure: Its name, such as ``"confusion"``; None for the page.
            axes: Draw on these matplotlib axes instead, one per panel.
            theme: ``light`` or ``dark``.

        Raises:
            UsageError: There is no such figure, or nothing of it in this report.
        """
        # matplotlib takes a second to load, which no run without figures should pay
        from symdiag.report.pictures import plot

        return plot(self, figure, axes=axes, theme=theme)


@dataclass(frozen=True)
class NetworkInfo:
    """How the network is known: read from a module, stated, determined by the file, or assumed."""

    source: NetworkSource
    why: Annotated[str, Meta(description="in words")]
    assume_chain: Annotated[
        bool, Meta(description="the user vouches for a plain chain where one is assumed")
    ] = False

    @property
    def condition(self) -> str:
        """What every statement on the groups depends on; "" where the network is known."""
        return self.why if self.source == "assumed" and not self.assume_chain else ""

    @property
    def statement(self) -> str:
        """Source and reason in one line."""
        accepted = ", as --assume-chain says" if self.assume_chain else ""
        return f"{self.source}{accepted if self.source == 'assumed' else ''}: {self.why}"


@dataclass(frozen=True, kw_only=True)
class NetworkReport(AnyReport):
    """A report whose figures rest on a network."""

    network: Annotated[NetworkInfo | None, LATER, Meta(description="how it is known")] = None

    @property
    def condition(self) -> str:
        """The words that every verdict on an assumed network carries; "" where there is none."""
        assumed = self.network is not None and self.network.condition
        return " if this is a plain chain" if assumed else ""

    @property
    def network_lines(self) -> tuple[str, ...]:
        """How the network is known, for the conditions of a document."""
        return () if self.network is None else (f"network {self.network.statement}",)


@dataclass(frozen=True)
class Side:
    """Where a posterior came from."""

    path: str
    sha256: str
    format: Annotated[str, Meta(description="container/dialect")]


@dataclass(frozen=True)
class ChanceShare:
    """What relabelling removes from independent networks with the same sizes of weights."""

    mean: float
    std: float
    upper: Annotated[float, Meta(description="a share up to here is no more than chance")]
    replicates: Annotated[int, Meta(ge=2, description="sets of independent networks drawn")]


@dataclass(frozen=True)
class ErrorObject:
    """An error as ``SymdiagError.to_dict`` writes it."""

    code: Annotated[str, Meta(description="stable, kebab-case", pattern="^[a-z0-9]+(-[a-z0-9]+)*$")]
    message: str
    hint: Annotated[str, Meta(description="what to do; may be empty")]


@dataclass(frozen=True)
class LayerInfo:
    """One tensor-owning layer of the model."""

    name: str
    kind: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Uncovered:
    """A parameter tensor that no group touches, and why."""

    name: str
    parameters: Annotated[int, Meta(ge=0, description="scalar weights")]
    reason: str
