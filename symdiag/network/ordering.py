"""The order of layers in files that list them alphabetically (safetensors): found from shapes if only one fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from symdiag.network.chain import Break, Reading, Shapes, read_chain
from symdiag.network.naming import Module, numbered

_MAX_STEPS = 2000


def fitting_orders(modules: Sequence[Module], shapes: Shapes, hint: bool | None) -> list[Reading]:
    """Chains in orders that fit, names that count upwards kept in turn: at most two; none where the search is long."""
    found: list[Reading] = []
    for steps, result in enumerate(_orders([], list(modules), shapes, hint)):
        if result is not None:
            found.append(result)
        if len(found) > 1:
            break
        if steps > _MAX_STEPS:
            return []
    return found


def _orders(
    chosen: list[Module], rest: list[Module], shapes: Shapes, hint: bool | None
) -> Iterator[Reading | None]:
    """Depth-first over orders whose beginnings are chains; yields None at every step and a reading at every leaf."""
    reading = read_chain(chosen, shapes, hint) if chosen else None
    if isinstance(reading, Break):
        yield None
        return
    if not rest and reading is not None:
        yield reading
        return
    yield None
    for index, module in enumerate(rest):
        if any(numbered(other.name, module.name) for other in rest):
            continue
        yield from _orders([*chosen, module], rest[:index] + rest[index + 1 :], shapes, hint)
