"""A pickled torch module as its file describes it: classes by name, in order, settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from symdiag.posterior import Posterior


@dataclass(frozen=True, eq=False)
class PickledModule:
    """One module of a pickled tree. Nothing here was imported: names are the file's text.

    ``class_name`` is qualified (``torch.nn.modules.linear.Linear``). ``attributes`` are the plain
    ones: numbers, texts, None, (nested) lists and dicts of them; a function is its qualified name,
    any other object ``{"__class__": name}``. ``parameters`` and ``buffers`` map names to shapes.
    ``children`` keep the order in which they were registered; a layer used twice is the same
    object.
    """

    class_name: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    buffers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    children: Mapping[str, PickledModule] = field(default_factory=dict)

    @property
    def class_words(self) -> str:
        """The class's own name, without its module."""
        return self.class_name.rpartition(".")[2].rstrip("]")

    def walk(self, prefix: str = "") -> Iterator[tuple[str, PickledModule]]:
        """Dotted name and module, this one first (as ""), depth first, in order."""
        yield prefix, self
        for name, child in self.children.items():
            yield from child.walk(f"{prefix}.{name}" if prefix else name)


def pickled_modules(posterior: Posterior) -> Mapping[str, PickledModule]:
    """The whole modules in the file that ``posterior`` was read from, by key; often none."""
    template = posterior.source.template if posterior.source is not None else None
    raw = getattr(template, "raw", None)
    found: Mapping[str, PickledModule] = getattr(raw, "modules", {})
    return found
