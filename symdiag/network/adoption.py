"""Tensors that names do not place: biases in positional lists, and buffers outside any layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from symdiag.errors import UnsupportedError
from symdiag.network.determined import ASK
from symdiag.network.naming import Module


def adopt_biases(
    modules: Sequence[Module], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[list[Module], list[str]]:
    """Give a nameless one-dimensional tensor to the bias-free weight right before it (``params.0``, ``params.1``).

    Returns:
        The modules, and one note if any bias was taken by position.
    """
    result: list[Module] = []
    for module in modules:
        before = result[-1] if result else None
        if before is not None and _nameless_bias(before, module, shapes):
            weight = next(iter(before.tensors.values()))
            result[-1] = Module(before.name, {"weight": weight, "bias": module.tensors["?"]})
        else:
            result.append(module)
    adopted = len(result) < len(modules)
    note = "biases were matched to weights by position: their names do not say what they are"
    return result, [note] if adopted else []


def _nameless_bias(before: Module, module: Module, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    if (
        set(module.tensors) != {"?"}
        or not set(before.tensors) <= {"?", "weight"}
        or len(before.tensors) != 1
    ):
        return False
    weight, bias = shapes[next(iter(before.tensors.values()))], shapes[module.tensors["?"]]
    return len(weight) >= 2 and len(bias) == 1 and bias[0] in weight[:2]


def set_buffers_aside(
    modules: Sequence[Module], weights: Mapping[str, object]
) -> tuple[list[Module], list[str]]:
    """Modules that hold weights, and notes on buffers that belong to none.

    Raises:
        UnsupportedError: ``undetermined-architecture`` for running statistics without weights, whose place is unknown.
    """
    kept: list[Module] = []
    notes: list[str] = []
    for module in modules:
        if any(name in weights for name in module.tensors.values()):
            kept.append(module)
        elif "running_mean" in module.tensors:
            message = f"{module.name} holds running statistics without weights: a file does not say which units they are of"
            raise UnsupportedError(message, code="undetermined-architecture", hint=ASK)
        elif set(module.tensors) != {"num_batches_tracked"}:
            notes.append(
                f"{module.name}: a buffer of unknown use, assumed not to tell hidden units apart"
            )
    return kept, notes
