"""One call of a function, as the rules see it, and what becomes of units where there is no rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from symdiag.symmetry.axes import AxisTable
from symdiag.symmetry.units import Labels


@dataclass(frozen=True)
class Step:
    """One function call. ``tensors`` are (labels, shape) of its tensor arguments; ``args``/``kwargs`` as traced, with
    every tensor replaced by None.
    """

    name: str
    tensors: Sequence[tuple[Labels, tuple[int, ...]]]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output_shape: Any

    @property
    def labels(self) -> Labels:
        """Labels of the first tensor argument."""
        return self.tensors[0][0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first tensor argument."""
        return self.tensors[0][1]

    def option(self, position: int, name: str, default: Any = None) -> Any:
        """An argument given by position or by name."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)


Rule = Callable[[AxisTable, Step], Any]


def unknown(table: AxisTable, step: Step) -> Any:
    """No rule: pin all units involved."""
    for labels, _ in step.tensors:
        table.pin(labels, f"they pass through '{step.name}', which symdiag cannot follow")
    return fixed(step.output_shape)


def fixed(shape: Any) -> Any:
    """Labels of an output without units, nested like the output itself."""
    if shape is None or all(isinstance(size, int) for size in shape):
        return () if shape is None else (None,) * len(shape)
    return tuple(fixed(part) for part in shape)
