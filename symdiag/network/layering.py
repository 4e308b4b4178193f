"""A chain of layers from modules: orientation of the weights, flatten blocks, norms, and orders
that fit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from symdiag.network.architecture import Layer, LayerKind
from symdiag.network.naming import Module, numbered

Shapes = Mapping[str, tuple[int, ...]]

RECURRENT_KINDS: dict[int, LayerKind] = {1: "rnn", 3: "gru", 4: "lstm"}
_CONV_KINDS: dict[int, LayerKind] = {3: "conv1d", 4: "conv2d", 5: "conv3d"}
_EMBEDDING = re.compile(r"(^|[._])(w[tp]e|emb(ed(ding)?s?)?)([._]|\d|$)", re.IGNORECASE)
_LAYERNORM = re.compile(r"(^|[._])(ln|layer_?norm)([._]?\w*|\d*)$", re.IGNORECASE)


@dataclass(frozen=True)
class Break:
    """Why modules in this order are not a chain; ``position`` is how far the chain held."""

    position: int
    message: str


@dataclass(frozen=True)
class Reading:
    """Layers that form a chain, and what had to be assumed to read them so."""

    layers: tuple[Layer, ...]
    notes: tuple[str, ...] = field(default=())


def read_chain(modules: Sequence[Module], shapes: Shapes, in_out: bool | None) -> Reading | Break:
    """The chain formed by ``modules`` in this order.

    Weights are stored (out, in) throughout or (in, out) throughout; biases and neighbours settle
    which. ``in_out`` is what the source says about it, used only when both readings fit.
    """
    readings = {orientation: _read(modules, shapes, orientation) for orientation in (False, True)}
    fitting = {key: value for key, value in readings.items() if isinstance(value, Reading)}
    # the reading that gets farther is the likelier one: its break is what the user has to mend
    if not fitting:
        return max(
            (r for r in readings.values() if isinstance(r, Break)),
            key=lambda broken: broken.position,
        )
    if len(fitting) == 1:
        return next(iter(fitting.values()))
    # only now: shapes are evidence, and a stated layout that they contradict is a mistake
    if in_out is not None:
        return fitting[in_out]
    return _settle_ambiguous(fitting)


def _settle_ambiguous(fitting: Mapping[bool, Reading]) -> Reading:
    """Both orientations fit: PyTorch's unless it leaves one-unit bottlenecks only; noted whenever
    it matters.
    """
    widths = {
        key: [layer.out_features for layer in value.layers[:-1]] for key, value in fitting.items()
    }
    # a net whose hidden layers all have one unit is not what anyone trains
    bottleneck = bool(widths[False]) and max(widths[False]) == 1 < max(widths[True])
    chosen = fitting[bottleneck]
    # convolutions are stored (out, in, ...) everywhere, so nothing was assumed
    if not any(layer.kind == "linear" for layer in chosen.layers):
        return chosen
    stored = "(in, out)" if bottleneck else "(out, in)"
    note = f"the shapes fit weights stored as (out, in) and as (in, out): read as {stored}"
    return replace(chosen, notes=(*chosen.notes, note))


def _read(modules: Sequence[Module], shapes: Shapes, in_out: bool) -> Reading | Break:
    layers: list[Layer] = []
    notes: list[str] = []
    for module in modules:
        layer = _layer(module, shapes, in_out)
        if layer is None:
            notes.append(f"{module.name}: a single number, not part of any layer")
            continue
        # a norm passes on the units of the layer before it: widths are compared across it
        before = next((earlier for earlier in reversed(layers) if not earlier.is_norm), None)
        problem = _two_norms(layers, layer) or _problem(before, layer, shapes)
        if problem:
            return Break(len(layers), problem)
        layers.append(replace(layer, inner=_inner(before, layer)))
        notes += _assumed(layers[-1])
    if not any(not layer.is_norm for layer in layers):
        return Break(0, "no layer weights found among the tensors")
    return Reading(tuple(layers), tuple(notes))


def _assumed(layer: Layer) -> list[str]:
    """What tensors alone leave open about one layer."""
    if layer.kind == "layernorm":
        return [f"{layer.name}: read as LayerNorm by its name (no running statistics in the file)"]
    # flattening (C, H, W) puts a channel's positions side by side; channels last would interleave
    # them
    if layer.inner > 1:
        channels = layer.in_features // layer.inner
        return [
            f"{layer.name}: inputs read as {channels} channels of {layer.inner} positions each, channels first"
        ]
    return []


def _layer(module: Module, shapes: Shapes, in_out: bool) -> Layer | None:
    """The layer a module's tensors make on their own; None for a lone scalar."""
    weight = module.get("weight")
    weight = next(iter(module.tensors.values())) if weight is None else weight
    shape = shapes[weight]
    bias = module.get("bias")
    extras = tuple(
        (role, name) for role, name in module.tensors.items() if name not in {weight, bias}
    )
    if module.get("recurrent") is not None:
        return _recurrent_layer(module, shapes, in_out)
    # a temperature or a noise scale, which acts on all units alike
    if len(shape) == 0 or (shape == (1,) and len(module.tensors) == 1):
        return None
    bias = None if bias == weight else bias
    if len(shape) == 1:
        return Layer(
            module.name,
            _norm_kind(module),
            weight,
            bias,
            shape[0],
            shape[0],
            shape,
            False,
            1,
            extras,
        )
    if len(shape) > 2:
        kind = _CONV_KINDS.get(len(shape), "other")
        return Layer(module.name, kind, weight, bias, shape[1], shape[0], shape, False, 1, extras)
    embedding = bool(_EMBEDDING.search(module.name)) and bias is None
    # an embedding is a table (words, units): its rows are indices, whatever the layout of the rest
    flipped = in_out or embedding
    units_in, units_out = shape if flipped else (shape[1], shape[0])
    kind = "embedding" if embedding else "linear"
    return Layer(module.name, kind, weight, bias, units_in, units_out, shape, flipped, 1, extras)


def _recurrent_layer(module: Module, shapes: Shapes, in_out: bool) -> Layer:
    """One level of an LSTM, GRU or plain RNN: its gates are the ratio of stacked rows to hidden
    units.
    """
    shape = shapes[module.tensors["weight"]]
    stacked, hidden = (
        shapes[module.tensors["recurrent"]]
        if not in_out
        else shapes[module.tensors["recurrent"]][::-1]
    )
    kind = RECURRENT_KINDS.get(stacked // hidden if stacked % hidden == 0 else 0, "other")
    units_in, rows = shape if in_out else shape[::-1]
    extras = tuple(
        (role, module.tensors[role])
        for role in ("recurrent", "recurrent_bias")
        if role in module.tensors
    )
    # input and recurrent halves stack the same gates; where they differ it is another cell
    kind = kind if rows == stacked else "other"
    return Layer(
        module.name,
        kind,
        module.tensors["weight"],
        module.get("bias"),
        units_in,
        hidden,
        shape,
        in_out,
        1,
        extras,
    )


def _norm_kind(module: Module) -> LayerKind:
    """Running statistics mean BatchNorm; a name may say LayerNorm; anything else may mix units
    (GroupNorm, ...).
    """
    if module.get("running_mean") is not None:
        return "batchnorm"
    return "layernorm" if _LAYERNORM.search(module.name) else "groupnorm"


def _inner(before: Layer | None, layer: Layer) -> int:
    """Columns of ``layer`` that one unit of ``before`` owns: H*W after a flatten, else 1."""
    if before is None or not before.kind.startswith("conv") or layer.kind != "linear":
        return 1
    # floored here; `_problem` refuses a width that is no multiple
    return layer.in_features // before.out_features


def _problem(before: Layer | None, layer: Layer, shapes: Shapes) -> str:
    """What keeps ``layer`` from following ``before``; empty when nothing does."""
    if layer.kind == "other":
        return f"{layer.weight} {layer.shape} fits no known kind of layer"
    outputs = layer.shape[1 if layer.in_out else 0]  # all gates of a recurrent layer
    if layer.bias is not None and math.prod(shapes[layer.bias]) != outputs:
        sizes = f"{layer.bias} {shapes[layer.bias]} does not fit {layer.weight} {layer.shape}"
        return f"{sizes}: layer {layer.name} gives {layer.out_features} units"
    if before is None:
        return (
            f"{layer.name} {layer.shape} scales units that no layer before it gives"
            if layer.is_norm
            else ""
        )
    misplaced = _misplaced(before, layer)
    # 0 where the layer takes fewer inputs than there are channels: then the widths differ, too
    inner = max(_inner(before, layer), 1)
    if misplaced or layer.in_features == before.out_features * inner:
        return misplaced
    gives = f"{before.name} {before.shape} gives {before.out_features} units"
    return f"{gives} but the next layer, {layer.name} {layer.shape}, takes {layer.in_features}"


def _misplaced(before: Layer, layer: Layer) -> str:
    """What keeps a layer of this kind from following ``before``, whatever the shapes; empty when
    nothing does.
    """
    if layer.kind == "embedding":
        return f"{layer.name} {layer.shape} looks like an embedding, which reads indices, not the units of {before.name}"
    if layer.kind.startswith("conv") and before.kind == "linear":
        return f"{layer.name} {layer.shape} looks like a convolution, but {before.name} {before.shape} gives flat units"
    return ""


def _two_norms(layers: Sequence[Layer], layer: Layer) -> str:
    """Norms are often listed after all other layers; two in a row show that the order is not that
    of use.
    """
    if layer.is_norm and layers and layers[-1].is_norm:
        return f"{layer.name} {layer.shape} follows another norm, {layers[-1].name}: the order of use cannot be told"
    return ""


_MAX_STEPS = 2000


def fitting_orders(modules: Sequence[Module], shapes: Shapes, hint: bool | None) -> list[Reading]:
    """Chains in orders that fit, names that count upwards kept in turn: at most two; none where the
    search is long.
    """
    found: list[Reading] = []
    for steps, result in enumerate(_orders([], list(modules), shapes, hint)):
        if result is not None:
            found.append(result)
        if len(found) > 1:
            break
        # orders grow as a factorial, and a search cut short must not pass for a complete one: no
        # order is then said to be the only one
        if steps > _MAX_STEPS:
            return []
    return found


def _orders(
    chosen: list[Module], rest: list[Module], shapes: Shapes, hint: bool | None
) -> Iterator[Reading | None]:
    """Depth-first over orders whose beginnings are chains; yields None at every step and a reading
    at every leaf.
    """
    reading = read_chain(chosen, shapes, hint) if chosen else None
    if isinstance(reading, Break):
        yield None
        return
    if not rest and reading is not None:
        yield reading
        return
    yield None
    for index, module in enumerate(rest):
        # fc2 never before fc1: people number layers in the order of use
        if any(numbered(other.name, module.name) for other in rest):
            continue
        yield from _orders([*chosen, module], rest[:index] + rest[index + 1 :], shapes, hint)
