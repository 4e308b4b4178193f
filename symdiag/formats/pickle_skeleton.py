"""What a torch pickle would build, worked out without building it.

A pickle is a program. Here its instructions are walked by an interpreter that knows only the handful torch.save
writes, imports nothing, calls nothing, and represents each tensor by the numbers that describe it. It runs before
torch.load, so that globals, sizes and tensor kinds are judged first, and it alone serves `inspect`, without torch.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from symdiag.errors import LimitError, UnreadableError, UnsafeError, UnsupportedError, shown
from symdiag.formats.inert import Inert, is_inert, stub
from symdiag.formats.limits import Limits
from symdiag.formats.pickle_globals import ODD_REBUILDS, RECIPE, STORAGES, UNTYPED

_MAX_SAME_HASH = 50


@dataclass(frozen=True)
class Storage:
    """A block of raw numbers in the archive; ``numel`` counts elements of ``dtype`` (bytes when untyped)."""

    key: str
    dtype: str | None
    numel: int


@dataclass(frozen=True)
class TensorSpec:
    """A tensor as its pickle describes it. ``kind`` is empty for an ordinary dense tensor."""

    dtype: str
    shape: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    offset: int = 0
    storage: Storage | None = None
    kind: str = ""

    @property
    def span(self) -> int:
        """Elements of the storage from the first used to the last used, both included; 0 for an empty tensor."""
        if 0 in self.shape:
            return 0
        return 1 + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))


@dataclass(frozen=True)
class Global:
    """A name the pickle refers to."""

    name: str


def skeleton(data: bytes, limits: Limits) -> Any:
    """The tree a torch pickle describes, with a `TensorSpec` for every tensor.

    Raises:
        UnreadableError: not a well-formed pickle (``corrupt``).
        UnsupportedError: instructions torch.save does not write.
        LimitError: too many instructions.
    """
    machine = _Machine()
    try:
        for count, (op, arg, _) in enumerate(pickletools.genops(data)):
            if count > limits.max_pickle_ops:
                raise LimitError(
                    f"pickle has more than {limits.max_pickle_ops} instructions",
                    hint="Save only the state dict.",
                )
            if op.name == "STOP":
                return machine.stack.pop()
            handler = _HANDLERS.get(op.name)
            if handler is None:
                raise UnsupportedError(
                    f"pickle instruction {op.name} is not one torch.save writes", hint=RECIPE
                )
            handler(machine, arg)
    except (LimitError, UnsupportedError, UnsafeError, UnreadableError):
        raise
    except Exception as error:  # a malformed program can fail in any way; none of them matters
        raise UnreadableError(
            f"damaged pickle in the archive ({type(error).__name__})",
            code="corrupt",
            hint="Save the file anew.",
        ) from error
    raise UnreadableError(
        "damaged pickle in the archive (no end)", code="corrupt", hint="Save the file anew."
    )


class _Machine:
    """The stack and memo of one run."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.same_hash: dict[int, list[Any]] = {}

    def mark(self, _: Any) -> None:
        """Begin a frame."""
        self.outer.append(self.stack)
        self.stack = []

    def frame(self) -> list[Any]:
        """End the current frame and give its items."""
        items = self.stack
        self.stack = self.outer.pop()
        return items

    def put(self, index: Any) -> None:
        self.memo[index] = self.stack[-1]

    def get(self, index: Any) -> None:
        self.stack.append(self.memo[index])

    def pack(self, _: Any) -> None:
        items = self.frame()
        self.stack.append(tuple(items))

    def take(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        if len(items) != count:
            raise ValueError("stack underflow")
        self.stack[-count:] = [items]

    def protocol(self, number: Any) -> None:
        if number != 2:
            raise UnsupportedError(
                f"pickle protocol {number} is not the one torch.save writes (2)", hint=RECIPE
            )

    def append(self, _: Any) -> None:
        item = self.stack.pop()
        _exact(self.stack[-1], list).append(item)

    def appends(self, _: Any) -> None:
        items = self.frame()
        _exact(self.stack[-1], list).extend(items)

    def set_item(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _exact(self.stack[-1], dict)[self.key(key)] = value

    def set_items(self, _: Any) -> None:
        items = self.frame()
        target = _exact(self.stack[-1], dict)
        target.update({self.key(k): v for k, v in zip(items[::2], items[1::2], strict=True)})

    def key(self, key: Any) -> Any:
        """``key``, which must be plain; refused when many others share its hash, as only chosen ones do.

        A dict compares keys of one hash one by one, so that a hundred thousand of them would take hours.
        """
        others = [] if isinstance(key, str) else self.same_hash.setdefault(hash(_key(key)), [])
        if key not in others:
            others.append(key)
        if len(others) > _MAX_SAME_HASH:
            raise LimitError(
                f"pickle has more than {_MAX_SAME_HASH} dict keys of one hash", hint=RECIPE
            )
        return _key(key)

    def new_object(self, _: Any) -> None:
        _args, cls = self.stack.pop(), self.stack.pop()
        if not (isinstance(cls, Global) and is_inert(cls.name)):
            raise UnsafeError(
                f"a pickle creates an object of {shown(getattr(cls, 'name', cls))}", hint=RECIPE
            )
        self.stack.append(stub(cls.name)())

    def reduce(self, _: Any) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        self.stack.append(_called(function, _exact(args, tuple)))

    def build(self, _: Any) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Inert):
            self.stack[-1].__setstate__(state)
        elif not isinstance(
            self.stack[-1], dict
        ):  # an OrderedDict's attributes (_metadata) are not ours to read
            raise UnsafeError("a pickle sets the state of something other than a dict", hint=RECIPE)

    def persistent(self, _: Any) -> None:
        tag, kind, key, _location, numel = _exact(self.stack.pop(), tuple)
        if tag != "storage" or not isinstance(kind, Global):
            raise ValueError("unknown persistent id")
        dtype = None if kind.name in UNTYPED else STORAGES[kind.name.removeprefix("torch.")]
        self.stack.append(Storage(_exact(key, str), dtype, _count(numel)))


def _exact(value: Any, kind: type) -> Any:
    """``value``, which must be exactly of type ``kind``."""
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}")
    return value


def _count(value: Any) -> int:
    """A non-negative int."""
    if type(value) is not int or value < 0:
        raise ValueError("not a count")
    return value


def _key(key: Any) -> Any:
    """A dict key: a plain scalar, or a flat tuple of them (hashing a nested one could take for ever)."""
    parts = key if type(key) is tuple else (key,)
    if len(parts) > 16 or not all(
        isinstance(p, (str, int, float, bool, type(None))) for p in parts
    ):
        raise TypeError("not a plain dict key")
    return key


def _called(function: Any, args: tuple[Any, ...]) -> Any:
    """What calling ``function`` would give, described rather than done."""
    if not isinstance(function, Global):
        raise TypeError("not callable")
    name = function.name
    if name in ODD_REBUILDS:
        return TensorSpec(dtype="", kind=ODD_REBUILDS[name])
    if name == "collections.OrderedDict" and not args:
        return {}
    if name == "torch.Size":
        return tuple(_count(n) for n in args[0])
    if name in ("torch.device", "torch.serialization._get_layout"):
        return _exact(args[0], str)
    if name == "torch._tensor._rebuild_from_type_v2":
        return _called(args[0], _exact(args[2], tuple))
    if name.startswith("torch._utils._rebuild_parameter"):
        return args[0]
    if name.startswith("torch._utils._rebuild_tensor"):
        return _tensor(name, args)
    if is_inert(name):
        return stub(name)()
    raise UnsafeError(f"a pickle calls {shown(name)}", hint=RECIPE)


def _tensor(name: str, args: tuple[Any, ...]) -> TensorSpec:
    """A dense tensor: storage, offset, shape, stride (and dtype, for storages without one)."""
    storage, offset, shape, stride = args[:4]
    if not isinstance(storage, Storage):
        raise TypeError("tensor without a storage")
    dtype = storage.dtype
    if name.endswith("_v3"):
        dtype = args[6].name.removeprefix("torch.")
    return TensorSpec(
        dtype=dtype or "uint8",
        shape=tuple(_count(n) for n in shape),
        stride=tuple(_count(n) for n in stride),
        offset=_count(offset),
        storage=storage,
    )


def _push(make: Callable[[Any], Any]) -> Callable[[_Machine, Any], None]:
    """A handler that pushes ``make(argument)``."""
    return lambda machine, arg: machine.stack.append(make(arg))


_Handler = Callable[[_Machine, Any], None]
_HANDLERS: dict[str, _Handler] = {
    "PROTO": _Machine.protocol,
    "GLOBAL": _push(lambda arg: Global(arg.replace(" ", "."))),
    "MARK": _Machine.mark,
    "NONE": _push(lambda arg: None),
    "NEWTRUE": _push(lambda arg: True),
    "NEWFALSE": _push(lambda arg: False),
    "EMPTY_TUPLE": _push(lambda arg: ()),
    "EMPTY_LIST": _push(lambda arg: []),
    "EMPTY_DICT": _push(lambda arg: {}),
    "TUPLE": _Machine.pack,
    "TUPLE1": lambda machine, arg: machine.take(1),
    "TUPLE2": lambda machine, arg: machine.take(2),
    "TUPLE3": lambda machine, arg: machine.take(3),
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "NEWOBJ": _Machine.new_object,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
    **{
        name: _push(lambda arg: arg)
        for name in ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE")
    },
    **{name: _Machine.put for name in ("BINPUT", "LONG_BINPUT")},
    **{name: _Machine.get for name in ("BINGET", "LONG_BINGET")},
}
