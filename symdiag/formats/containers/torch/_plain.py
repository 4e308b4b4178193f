"""From what a pickle describes to a plain tree: dicts, lists, numpy arrays and scalars.

Dicts, lists and tuples stay; tensors become arrays. Objects become what a dialect knows them by
(``_objects``), any other its attributes beside ``{"__class__": name}``. An object met again is told
by its name alone, so that object graphs, which are full of circles, end; repeated lists and dicts
count as often as they occur.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symdiag.errors import LimitError, shown
from symdiag.formats import dtypes
from symdiag.formats.containers.torch import _arrays, _objects
from symdiag.formats.containers.torch._objects import CLASS_KEY, SCALARS
from symdiag.formats.containers.torch._values import (
    Array,
    DType,
    Global,
    Record,
    Storage,
    Tensor,
)
from symdiag.formats.interface import Content, HeaderEntry
from symdiag.formats.limits import Limits
from symdiag.formats.pickled_module import PickledModule

_MAX_KEY_TEXT = 1 << 26  # characters of all keys together
_WORK = 10  # steps per entry that may be spent on what yields no entry


@dataclass
class Plain:
    """One conversion; ``load`` is False where only names and shapes are wanted.

    ``available`` is the size of the file, against which what its tensors unfold to is judged.
    """

    limits: Limits
    available: int
    load: bool = True
    found: list[HeaderEntry] = field(default_factory=list)
    foreign: dict[str, str] = field(default_factory=dict)
    modules: dict[str, PickledModule] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    specs: list[tuple[str, Tensor]] = field(default_factory=list)
    nodes: int = 0
    work: int = 0
    key_text: int = 0
    unfolded: int = 0
    above: list[Record] = field(default_factory=list)  # being converted, outermost first
    done: set[int] = field(default_factory=set)
    described: dict[int, PickledModule] = field(default_factory=dict)

    def content(self, root: Any) -> Content:
        """The whole file as a container's ``read`` gives it."""
        tree = self.convert(root, None, 0)
        return Content(
            tree, self.metadata, self.foreign, _arrays.tied(self.specs), modules=self.modules
        )

    def header(self, root: Any) -> tuple[tuple[HeaderEntry, ...], dict[str, str]]:
        """The file's tensors and metadata as a container's ``header`` gives them."""
        self.convert(root, None, 0)
        return tuple(self.found), self.metadata

    def convert(self, value: Any, key: str | None, depth: int, lenient: bool = False) -> Any:
        """``value`` as a plain tree. ``lenient``: in an object, what we cannot read is named."""
        self._enter(key, depth)
        if isinstance(value, Tensor):
            return self._tensor(value, key or "", lenient)
        if isinstance(value, Array):
            return self._array(value, key, depth, lenient)
        if isinstance(value, Record):
            return self._record(value, key, depth, lenient)
        if isinstance(value, dict):
            return self._dict(value, key, depth, lenient)
        if isinstance(value, list | tuple):
            items = [
                self.convert(item, _join(key, index), depth + 1, lenient)
                for index, item in enumerate(value)
            ]
            return items if isinstance(value, list) else tuple(items)
        if isinstance(value, Storage):
            whole = Tensor(value.dtype or "uint8", (value.numel,), (1,), 0, value)
            return self._tensor(whole, key or "", lenient)
        if isinstance(value, Global):
            return value.name
        return value.code if isinstance(value, DType) else value

    def _enter(self, key: str | None, depth: int) -> None:
        # A long key, memoised once, can stand in every entry at every level.
        self.key_text += len(key or "")
        if depth > self.limits.max_depth or self.key_text > _MAX_KEY_TEXT:
            self._refuse()
        self._count(1)

    def _count(self, entries: int) -> None:
        self.nodes += entries
        if self.nodes > self.limits.max_nodes:
            self._refuse()

    def _spend(self, steps: int) -> None:
        self.work += steps
        if self.work > _WORK * self.limits.max_nodes:
            self._refuse()

    def _refuse(self) -> None:
        raise LimitError(
            f"contents nest deeper than {self.limits.max_depth} levels or hold more than "
            f"{self.limits.max_nodes} entries",
            hint="Save only the state dict.",
        )

    def _dict(self, value: dict[Any, Any], key: str | None, depth: int, lenient: bool) -> Any:
        plain: dict[Any, Any] = {}
        for name, child in value.items():
            own = isinstance(name, SCALARS) or type(name) is tuple
            label = name if own else _label(name, plain)
            plain[label] = self.convert(child, _join(key, label), depth + 1, lenient)
        return plain

    def _record(self, record: Record, key: str | None, depth: int, lenient: bool) -> Any:
        """An object in its plain form; one met before, or on the way to itself, by name only."""
        state = _objects.module_state(record)
        # A guide holds its model, the model its modules, a module its parent: most object graphs
        # are circular somewhere, which is no fault.
        circular = any(record is other for other in self.above)
        again = id(record) in self.done and not _objects.is_flat(record)
        # A module may stand at several places of a state dict: weights are shared that way.
        if circular or (again and (state is None or lenient)):
            return {CLASS_KEY: record.name}
        self.done.add(id(record))
        self.above.append(record)
        known = _objects.as_known(record, self._spend)
        if known is not None:
            plain = self.convert(known, key, depth + 1, lenient)
        elif state is not None:
            plain = self._module(record, state, key, depth, lenient)
        else:
            plain = self._object(record, key, depth)
        self.above.pop()
        return plain

    def _object(self, record: Record, key: str | None, depth: int) -> Any:
        """Attributes under the class's name; a dict's entries or a list's items where it is one."""
        if record.entries and not record.state:
            return self._dict(record.entries, key, depth, True)
        if record.items or record.name in ("builtins.set", "builtins.frozenset", "builtins.list"):
            return self.convert(record.items or list(record.args), key, depth + 1, True)
        self._spend(len(record.args) + len(record.entries) + len(record.state))
        parts = {"args": record.args} if record.args else {}
        parts |= record.entries
        parts |= {str(k) if isinstance(k, SCALARS) else k: v for k, v in record.state.items()}
        return {CLASS_KEY: record.name, **self._dict(parts, key, depth, True)}

    def _module(
        self, record: Record, state: dict[Any, Any], key: str | None, depth: int, lenient: bool
    ) -> dict[str, Any]:
        """The module's state dict, flat as torch writes it, and its description."""
        flat: dict[str, Any] = {}
        for name, tensor in _objects.state_dict(record, self._spend):
            flat[name] = self.convert(tensor, _join(key, name), depth + 1, lenient)
        if not lenient:
            self.modules[key or ""] = _objects.described(record, self.described, self._spend)
            if key in (None, "guide"):
                self._of_guide(record, state)
        return flat

    def _of_guide(self, record: Record, state: dict[Any, Any]) -> None:
        """What a Pyro guide says of its parameters beyond their values, where ``record`` is one."""
        shapes = _objects.latent_shapes(state)
        if shapes is not None:
            self.metadata["symdiag.model_shapes"] = json.dumps(shapes)
        transform = _objects.scale_transform(record, self._spend)
        if transform is not None and record.name.startswith("pyro.infer.autoguide."):
            self.metadata["symdiag.scale_transform"] = transform

    def _tensor(self, spec: Tensor, key: str, lenient: bool) -> Any:
        """A dense tensor's array; others are refused, or named where they are inside an object."""
        unread = _arrays.unread_kind(spec)
        if unread is None and spec.dtype in _arrays.COMPLEX and not lenient:
            unread = f"has dtype {spec.dtype}", "unsupported-dtype"
        if unread and lenient:
            return {CLASS_KEY: "torch.Tensor", "kind": unread[0]}
        if unread:
            _arrays.unsupported(f"tensor {shown(key)}", *unread)
        self._unfold(_arrays.check_tensor(spec, key, self.limits))
        self.found.append(HeaderEntry(key, spec.shape, spec.dtype))
        self.specs.append((key, spec))  # which tensors overlap in one storage is told at the end
        if spec.dtype in dtypes.FOREIGN_ITEMSIZE:
            self.foreign[key] = spec.dtype
        return _arrays.tensor_values(spec) if self.load else None

    def _array(self, array: Array, key: str | None, depth: int, lenient: bool) -> Any:
        """A numpy array's values; text and object arrays become lists, a numpy scalar a number."""
        code = array.dtype.code if array.dtype else "?"
        what = f"array {shown(key or '')}"
        # numpy pickles the items of an object array one by one: no bytes to interpret
        if code.startswith("O") and (array.scalar or isinstance(array.data, list)):
            return self.convert(array.data, key, depth + 1, lenient)
        dtype = _arrays.numpy_dtype(array)
        if dtype is None or (dtype.kind == "c" and not lenient):
            if lenient:
                return {CLASS_KEY: "numpy.ndarray", "dtype": code}
            _arrays.unsupported(what, f"has dtype {shown(code)}", "unsupported-dtype")
        values = _arrays.numpy_values(array, dtype, what, self.limits)
        self._unfold(values.nbytes)
        if dtype.kind in "SU":
            self._count(values.size)
            return _arrays.numpy_text(values, what)
        if array.scalar:
            return values.item()
        self.found.append(HeaderEntry(key or "", array.shape, dtype.name))
        return np.array(values, dtype=dtype.newbyteorder("=")) if self.load else None

    def _unfold(self, size: int) -> None:
        self.unfolded += size
        self.limits.check_unfolded(self.unfolded, self.available, "the tensors together")


def _label(key: Any, taken: dict[Any, Any]) -> str:
    """A text for a dict key that is an object."""
    name = str(getattr(key, "name", type(key).__name__.lower()))
    return name if name not in taken else f"{name}#{len(taken)}"


def _join(prefix: str | None, name: object) -> str:
    return str(name) if prefix is None else f"{prefix}.{name}"
