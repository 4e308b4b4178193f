"""How the network is known: what a file determines about its graph, and what is only assumed.

A file holds tensors, no graph. The plain chain that they form is the only reading exactly when no
other wiring fits them (docs/theory/symmetry.md, "What a file determines"):

- every layer of the chain takes as many inputs as the layer before it gives units, so nothing is
  concatenated;
- a skip connection, a gate, a layer used twice, a branch or another order of the layers needs two
  vectors of one width. Vectors inside a recurrent stack or a numbered ``nn.Sequential`` are out of
  reach: their wiring is PyTorch's. The network's inputs and outputs may agree in width: what joins
  them passes around every hidden unit and changes no group.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from symdiag.errors import UsageError
from symdiag.network.architecture import Layer

NetworkSource = Literal["module", "pickled-module", "spec", "determined", "assumed"]

_REMEDY = (
    "give the module with --model package.module:factory, its groups with --spec FILE, or "
    "--assume-chain if it really is a plain chain"
)

_FUNCTION_REMEDY = (
    "give the module with --model package.module:factory, or --assume-chain if every norm stands "
    "before the activation"
)


@dataclass(frozen=True)
class Provenance:
    """How the network is known.

    ``why`` says it in words. ``accepted``: the user vouches for an assumed chain. ``function`` is
        why
    the outputs are less certain than the groups (the place of a norm), "" where they are not.
    """

    source: NetworkSource
    why: str
    accepted: bool = False
    function: str = ""

    @property
    def is_settled(self) -> bool:
        """Whether statements about the groups need no condition."""
        return self.source != "assumed" or self.accepted

    def require_groups(self, doing: str) -> None:
        """Refuse what must not rest on an assumed graph.

        Raises:
            UsageError: ``network-assumed``.
        """
        if not self.is_settled:
            message = f"{doing} needs to know the network: {self.why}"
            raise UsageError(message, code="network-assumed", hint=_REMEDY)

    def require_function(self, doing: str) -> None:
        """The same for what needs the network's outputs, too.

        Raises:
            UsageError: ``network-assumed``.
        """
        self.require_groups(doing)
        if self.function and not self.accepted:
            message = f"{doing} needs to know the network: {self.function}"
            raise UsageError(message, code="network-assumed", hint=_FUNCTION_REMEDY)


def chain_provenance(layers: Sequence[Layer], *, stated: bool = False) -> Provenance:
    """Whether the tensors admit the chain ``layers`` alone; ``stated`` by the file's metadata."""
    places = [index for index, layer in enumerate(layers) if not layer.is_norm]
    units = [layers[index] for index in places]
    # from each layer to the next, with the norms between them
    steps = [layers[a : b + 1] for a, b in itertools.pairwise(places)]
    inside = [_is_inside(step) for step in steps]
    function = _unplaced_norm([*steps, layers[places[-1] :]])
    # after the norms: that it is a chain does not say where they stand
    if stated:
        why = "the file's metadata says that it is a plain chain"
        return Provenance("determined", why, function=function)
    if len(units) > 1 and all(inside):
        why = f"its names number the layers of one {_container(units)}"
        return Provenance("determined", why, function=function)
    exposed = [unit for unit, hidden in zip(units, inside, strict=False) if not hidden]
    inputs = 0 if units[0].kind == "embedding" else units[0].in_features  # indices join nothing
    # equal widths alone prove no skip connection; they only leave it possible
    clash = _same_width(inputs, exposed, units[-1].out_features)
    if clash:
        why = f"read as a plain chain, although {clash} leave room for skip connections or shared layers"
        return Provenance("assumed", why, function=function)
    if len(units) < 3:
        why = "one hidden layer of another width than inputs and outputs"
        return Provenance("determined", why if len(units) == 2 else "one layer", function=function)
    sizes = (inputs, *(unit.out_features for unit in units))
    why = f"its widths {'-'.join(map(str, sizes))} admit no skip connection and no other order"
    return Provenance("determined", why, function=function)


def _same_width(inputs: int, exposed: Sequence[Layer], outputs: int) -> str:
    """Two vectors of one width, in words; "" where there are none but inputs and outputs."""
    known: dict[int, str] = {inputs: "inputs"}
    for layer in exposed:
        # a skip adds vectors, so it needs equal widths; concatenation would show in the next layer
        other = known.setdefault(layer.out_features, f"'{layer.name}'")
        if other != f"'{layer.name}'":
            return f"{other} and '{layer.name}' ({layer.out_features} wide)"
    if outputs in {layer.out_features for layer in exposed}:
        return f"{known[outputs]} and the outputs ({outputs} wide)"
    return ""


_NUMBERED = re.compile(r"(?:(?P<parent>.*)\.)?(?P<number>\d+)")


def _is_inside(run: Sequence[Layer]) -> bool:
    """Whether nothing outside can read the units between two layers: PyTorch wires them.

    True for the levels of one recurrent module, and within an ``nn.Sequential``.
    """
    before, after = run[0], run[-1]
    if before.tensor_for("recurrent") and after.tensor_for("recurrent"):
        stem, _, level = after.name.rpartition(".")
        return bool(stem) and level.startswith("l") and before.name.startswith(f"{stem}.l")
    return _is_sequential(run)


def _is_sequential(run: Sequence[Layer]) -> bool:
    """Whether consecutive layers, norms included, are numbered parts of one ``nn.Sequential``.

    A ``ModuleList`` is numbered, too, and wired at will. What tells them apart is a number without
    tensors, that of the activation, or that the whole file is one container: a list has no forward.
    """
    counts = [_step(a, b) for a, b in itertools.pairwise(run)]
    whole_file = all("." not in x.name and x.weight.endswith(".weight") for x in run)
    return bool(counts) and min(counts) > 0 and (max(counts) > 1 or whole_file)


def _container(units: Sequence[Layer]) -> str:
    return "recurrent module" if units[0].tensor_for("recurrent") else "nn.Sequential"


def _unplaced_norm(runs: Sequence[Sequence[Layer]]) -> str:
    """A norm may stand before or after the activation; the numbers of a Sequential tell."""
    for run in runs:
        norms = [layer for layer in run[1:] if layer.is_norm]
        if norms and not (_is_sequential(run) and _step(run[0], norms[0]) == 1):
            return (
                f"whether {norms[0].name} stands before or after the activation is not in the file"
            )
    return ""


def _step(before: Layer, after: Layer) -> int:
    """By how much the numbers of two modules in one container differ; 0 where they are not in one."""
    if before.name == before.weight or after.name == after.weight:
        return 0  # a positional list of tensors, not of modules
    first, second = _NUMBERED.fullmatch(before.name), _NUMBERED.fullmatch(after.name)
    # numbers count within one container: 0.1 and 1.2 are parts of two
    if first is None or second is None or first["parent"] != second["parent"]:
        return 0
    return int(second["number"]) - int(first["number"])
