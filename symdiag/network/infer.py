"""Read the architecture off names and shapes: what a checkpoint determines, and what it leaves open.

A file holds no graph. A plain chain (linear, convolution, norm layers in file order) is determined by its shapes up to
the storage order of the weights; whatever else is assumed is written into ``Network.notes``, and what cannot be read as
a chain is refused with the code ``broken-chain``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from symdiag.errors import UnsupportedError, UsageError
from symdiag.network.architecture import ACTIVATIONS, Layer, Network
from symdiag.network.layering import Break, Reading, Shapes, fitting_orders, read_chain
from symdiag.network.naming import (
    ASK,
    Module,
    adopt_biases,
    group_modules,
    natural_key,
    numbered,
    refuse_tied,
    set_buffers_aside,
    split_recurrent,
)
from symdiag.posterior import Posterior

_NUMERICAL = (
    "layers were put in the numerical order of their names: the file lists them in another order"
)
_SEVERAL = "the layers fit together in several orders, and the file lists them alphabetically"
_ONLY = "layers were put in the only order in which their shapes fit: the file lists them alphabetically"


def infer_network(posterior: Posterior, *, activation: str | None = None) -> Network:
    """The network whose tensors ``posterior`` holds, as far as names and shapes determine it.

    Args:
        posterior: tensors in file order, named ``fc1.weight`` and the like; ``source.metadata`` may hold
            ``activation`` and ``layout`` (``out,in`` or ``in,out``).
        activation: name of the activation between layers; overrides the metadata. None and no metadata: unknown.

    Returns:
        Layers in forward order. ``notes`` holds every assumption made.

    Raises:
        UnsupportedError: ``broken-chain`` when consecutive layers do not fit, naming both and their shapes;
            ``undetermined-architecture`` for tied tensors, attention, and recurrent layers that shapes do not place.
        UsageError: the activation is not one of ``ACTIVATIONS``.
    """
    name, notes = _activation(posterior, activation)
    refuse_tied(posterior)
    shapes = {**posterior.shapes, **{key: value.shape for key, value in posterior.buffers.items()}}
    modules, buffer_notes = set_buffers_aside(group_modules(shapes), posterior.loc)
    modules, bias_notes = adopt_biases(split_recurrent(modules), shapes)
    notes += [*buffer_notes, *bias_notes]
    reading, order_notes = _in_some_order(
        modules, shapes, _layout_hint(posterior), sorted_names=_sorts(posterior)
    )
    notes += [*order_notes, *reading.notes]
    notes += [
        note
        for note in (residual_suspicion(reading.layers), order_suspicion(reading.layers))
        if note
    ]
    return Network(tuple(reading.layers), name, tuple(notes))


def _activation(posterior: Posterior, given: str | None) -> tuple[str | None, list[str]]:
    name = given or _metadata(posterior, "activation")
    if name is None:
        return None, ["activation unknown: sign flips were not considered"]
    name = name.strip().lower()
    if name not in ACTIVATIONS:
        known = ", ".join(sorted(ACTIVATIONS))
        raise UsageError(
            f"unknown activation '{name}'", code="unknown-activation", hint=f"known: {known}"
        )
    return name, []


def _metadata(posterior: Posterior, key: str) -> str | None:
    """What the file's metadata or its sidecar says of ``key``."""
    metadata = posterior.source.metadata if posterior.source else {}
    return metadata.get(key) or metadata.get(f"symdiag.{key}")


def _layout_hint(posterior: Posterior) -> bool | None:
    """Whether the source says weights are stored (in, out); None when it says nothing."""
    if posterior.source is None:
        return None
    layout = (_metadata(posterior, "layout") or "").replace("_", ",").replace(" ", "")
    if layout in {"in,out", "out,in"}:
        return layout == "in,out"
    return True if posterior.source.dialect == "numpyro" else None


def _sorts(posterior: Posterior) -> bool:
    """Whether the file had to list its tensors alphabetically, so that their order tells nothing of the network."""
    return posterior.source is not None and "safetensors" in posterior.source.container


def _in_some_order(
    modules: Sequence[Module], shapes: Shapes, hint: bool | None, *, sorted_names: bool
) -> tuple[Reading, list[str]]:
    """The chain in file order; where that order is only alphabetical, by number, or the only order that fits."""
    given = list(modules)
    natural = sorted(modules, key=lambda module: natural_key(module.name))
    names = [module.name for module in modules]
    alphabetical = names == sorted(names) and len(names) > 1
    orders = [(given, "")]
    if natural != given:
        orders.insert(0 if alphabetical else 1, (natural, _NUMERICAL))
    results = [(read_chain(order, shapes, hint), note) for order, note in orders]
    fits = any(isinstance(result, Reading) for result, _ in results)
    others = (
        fitting_orders(given, shapes, hint) if alphabetical and (sorted_names or not fits) else []
    )
    if fits and len(others) > 1:
        raise UnsupportedError(_SEVERAL, code="undetermined-architecture", hint=ASK)
    if not fits and len(others) == 1:
        results.append((others[0], _ONLY))
    for result, note in results:
        if isinstance(result, Reading):
            return result, [note] if note else []
    broken = next(result for result, _ in results if isinstance(result, Break))
    raise UnsupportedError(broken.message, code="broken-chain", hint=ASK)


_RESIDUAL_NAMES = re.compile(
    r"(^|[._])(res\w*|\w*block\w*|shortcut|downsample|skip\w*|layer\d+\.\d+)([._]|\d|$)",
    re.IGNORECASE,
)


def residual_suspicion(layers: Sequence[Layer]) -> str:
    """An assumption to report when skip connections are possible: they would tie groups that a chain leaves free.

    Returns:
        One line, or "" when no two widths agree, those of inputs and outputs included.
    """
    units = [layer for layer in layers if not layer.is_norm]
    hidden = [layer.out_features for layer in units[:-1]]
    named = [layer.name for layer in units if _RESIDUAL_NAMES.search(layer.name)]
    if not hidden or not _may_skip([units[0].in_features, *hidden, units[-1].out_features]):
        return ""
    repeated = len(set(hidden)) < len(hidden)
    if repeated and named:
        why = f"although names such as '{named[0]}' suggest skip connections"
    elif _returns(hidden):
        why = f"although widths {', '.join(map(str, hidden))} suggest skip connections"
    else:
        why = "although equal widths leave room for skip connections"
    return (
        f"read as a plain chain {why}, which a file cannot show and which would tie groups of equal width: "
        "confirm with --model or --spec"
    )


def _may_skip(widths: Sequence[int]) -> bool:
    """Whether something could be added to something else: two widths agree, other than inputs and outputs."""
    inputs, *hidden, outputs = widths
    return len(set(hidden)) < len(hidden) or inputs in hidden or outputs in hidden


def _returns(widths: Sequence[int]) -> bool:
    """Whether a width comes back after another (a bottleneck block), or stays for three layers or more."""
    bottleneck = any(a == c != b for a, b, c in zip(widths, widths[1:], widths[2:], strict=False))
    stack = any(a == b == c for a, b, c in zip(widths, widths[1:], widths[2:], strict=False))
    return bottleneck or stack


def order_suspicion(layers: Sequence[Layer]) -> str:
    """An assumption to report when layers of one shape could change places and their names do not number them."""
    known: dict[tuple[object, ...], Layer] = {}
    for layer in layers:
        if layer.is_norm:
            continue
        signature = (layer.kind, layer.shape, layer.in_out, layer.inner, layer.bias is None)
        before = known.get(signature)
        known[signature] = layer
        if before is not None and not numbered(before.name, layer.name):
            return f"{before.name} and {layer.name} have one shape: used in the order of the file, as far as it shows"
    return ""
