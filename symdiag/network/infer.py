"""Read the architecture off names and shapes: what a checkpoint determines, and what it leaves
open.

A file holds no graph. A plain chain (linear, convolution, norm layers in file order) is determined
by its shapes up to the storage order of the weights; whatever else is assumed is written into
``Network.notes``, and what cannot be read as a chain is refused with the code ``broken-chain``.
"""

from __future__ import annotations

from collections.abc import Sequence

from symdiag.errors import UnsupportedError, UsageError
from symdiag.network.architecture import ACTIVATIONS, ODD_ACTIVATIONS, Layer, Network
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
from symdiag.network.pickled import SEQUENTIAL, hinted_activation, pickled_network
from symdiag.network.provenance import chain_provenance
from symdiag.posterior import Posterior

_NUMERICAL = (
    "layers were put in the numerical order of their names: the file lists them in another order"
)
_SEVERAL = "the layers fit together in several orders, and the file lists them alphabetically"
_ONLY = "layers were put in the only order in which their shapes fit: the file lists them alphabetically"


def infer_network(posterior: Posterior, *, activation: str | None = None) -> Network:
    """The network whose tensors ``posterior`` holds, as far as names and shapes determine it.

    Args:
        posterior: tensors in file order, named ``fc1.weight`` and the like; ``source.metadata`` may
            hold ``activation`` and ``layout`` (``out,in`` or ``in,out``).
        activation: name of the activation between layers; overrides the metadata. None and no
            metadata: unknown.

    Returns:
        Layers in forward order. ``notes`` holds every assumption made.

    Raises:
        UnsupportedError: ``broken-chain`` when consecutive layers do not fit, naming both and their
            shapes; ``undetermined-architecture`` for tied tensors, attention, and recurrent layers
            that shapes do not place.
        UsageError: the activation is not one of ``ACTIVATIONS``.
    """
    name, notes = _activation(posterior, activation)
    refuse_tied(posterior)
    shapes = {**posterior.shapes, **{key: value.shape for key, value in posterior.buffers.items()}}
    modules, buffer_notes = set_buffers_aside(group_modules(shapes), posterior.loc)
    modules, bias_notes = adopt_biases(split_recurrent(modules), shapes)
    notes += [*buffer_notes, *bias_notes]
    reading, order_notes = _in_order(
        modules, shapes, _layout_hint(posterior), sorted_names=_sorts(posterior)
    )
    notes += [*order_notes, *reading.notes]
    provenance = chain_provenance(reading.layers, stated=states_chain(posterior))
    if provenance.source == "assumed" and not pickled_network(posterior):
        notes += [f"{provenance.why}: confirm with --model or --spec"]
        notes += [note for note in [order_suspicion(reading.layers)] if note]
    return Network(tuple(reading.layers), name, tuple(notes))


def _activation(posterior: Posterior, given: str | None) -> tuple[str | None, list[str]]:
    name = given or _metadata(posterior, "activation")
    if name is None:
        found, note = pickled_activation(posterior)
        return found, [note or "activation unknown: sign flips were not considered"]
    # people write ReLU in sidecars
    name = name.strip().lower()
    if name not in ACTIVATIONS:
        known = ", ".join(sorted(ACTIVATIONS))
        raise UsageError(
            f"unknown activation '{name}'", code="unknown-activation", hint=f"known: {known}"
        )
    return name, []


def pickled_activation(posterior: Posterior) -> tuple[str | None, str]:
    """The activation that the parts of a pickled module tell, and a note; (None, "") without one.

    An nn.Sequential runs its parts. What another class does with them is not in the file: an odd
    activation, which would add sign flips to the group, is then named and not used.
    """
    name, owner = hinted_activation(posterior)
    last = owner.rpartition(".")[2]
    if name is None:
        return None, ""
    if owner in SEQUENTIAL:
        return name, f"activation {name}: that of the pickled {last}"
    if name in ODD_ACTIVATIONS:
        note = (
            f"sign flips were not considered: give --activation {name} if that of the parts of the"
        )
        return None, f"{note} pickled {last} stands between all its layers"
    note = f"activation {name}: the only one among the parts of the pickled {last}"
    return name, f"{note}, whose forward is not in the file"


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
    # JAX code multiplies x @ w, so its weights are (in, out) by habit
    return True if posterior.source.dialect == "numpyro" else None


def _sorts(posterior: Posterior) -> bool:
    """Whether the file had to list its tensors alphabetically, so that their order tells nothing of
    the network.
    """
    return posterior.source is not None and "safetensors" in posterior.source.container


def _in_order(
    modules: Sequence[Module], shapes: Shapes, hint: bool | None, *, sorted_names: bool
) -> tuple[Reading, list[str]]:
    """The chain in file order or, where names were sorted, in the order of numbers or of shapes.

    Raises:
        UnsupportedError: ``undetermined-architecture`` where several orders fit and the file's own
            is that of the alphabet; ``broken-chain`` where none does.
    """
    names = [module.name for module in modules]
    alphabetical = len(names) > 1 and names == sorted(names)
    orders = [("", list(modules))]
    by_number = sorted(modules, key=lambda module: natural_key(module.name))
    if by_number != orders[0][1]:
        # a file sorted by name says nothing of the order of use, so the numbers go first there
        orders.insert(0 if alphabetical else 1, (_NUMERICAL, by_number))
    results = [(note, read_chain(order, shapes, hint)) for note, order in orders]
    readings = [(note, found) for note, found in results if isinstance(found, Reading)]
    if alphabetical and (sorted_names or not readings):
        # only for sorted names: a file in the order of definition needs no search
        others = fitting_orders(modules, shapes, hint)
        if readings and len(others) > 1:
            raise UnsupportedError(_SEVERAL, code="undetermined-architecture", hint=ASK)
        if not readings and len(others) == 1:
            readings = [(_ONLY, others[0])]
    if not readings:
        # the first order tried is the likeliest, so its break is the one to show
        broken = next(found for _, found in results if isinstance(found, Break))
        raise UnsupportedError(broken.message, code="broken-chain", hint=ASK)
    note, reading = readings[0]
    return reading, [note] if note else []


def states_chain(posterior: Posterior) -> bool:
    """Whether the file's metadata or its sidecar says ``network: chain``."""
    return (_metadata(posterior, "network") or "").strip().lower() == "chain"


def order_suspicion(layers: Sequence[Layer]) -> str:
    """An assumption to report when layers of one shape could change places and their names do not
    number them.
    """
    known: dict[tuple[object, ...], Layer] = {}
    for layer in layers:
        if layer.is_norm:
            continue
        # layers that agree in all of this could be exchanged without any shape changing
        signature = (layer.kind, layer.shape, layer.in_out, layer.inner, layer.bias is None)
        before = known.get(signature)
        known[signature] = layer
        if before is not None and not numbered(before.name, layer.name):
            return f"{before.name} and {layer.name} have one shape: used in the order of the file, as far as it shows"
    return ""
