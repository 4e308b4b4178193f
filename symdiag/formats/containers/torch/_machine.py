"""An interpreter of pickle programs that imports nothing and calls nothing.

A pickle is a program for a stack machine. `Machine.run` walks it with `pickletools.genops`, which
only decodes, and builds the inert values of ``_values``: plain Python containers and numbers,
tensors as descriptions, and records of everything else.
"""

from __future__ import annotations

import codecs
import io
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn

from symdiag.errors import LimitError, SymdiagError, UnreadableError, UnsafeError, UnsupportedError
from symdiag.formats.containers.torch._calls import called
from symdiag.formats.containers.torch._values import (
    Array,
    DType,
    Record,
    Storage,
    Tensor,
    exact,
    plain_key,
    reference,
)
from symdiag.formats.limits import Limits

# Python loads a codec's module when it first decodes with it: done here, so that no file is what
# makes anything be imported.
for _codec in ("raw-unicode-escape", "unicode-escape", "ascii", "latin-1"):
    codecs.lookup(_codec)

Persistent = Callable[[Any], Any]
_LONGEST_INT = 255  # bytes; what follows (printing, hashing) is slow on longer ones


def refuse_persistent(identifier: Any) -> Any:
    """The persistent ids of a pickle that stands alone: there is nothing they could refer to."""
    raise UnsupportedError(
        "the pickle refers to objects outside itself",
        hint="Save the tensors themselves with torch.save(model.state_dict(), 'model.pt').",
    )


class Machine:
    """Runs the pickles of one file; the count of instructions is shared by all of them."""

    def __init__(
        self,
        limits: Limits,
        persistent: Persistent = refuse_persistent,
        nested: Callable[[bytes, Machine], Any] | None = None,
    ) -> None:
        self.limits = limits
        self.persistent_load = persistent
        self.nested_load = nested
        # One budget for all pickles of a file: a bare one may hold thousands of small torch files.
        self.left = limits.max_pickle_ops
        self.same_hash: dict[int, list[Any]] = {}
        # By identity, with the text kept alive: a memoised text may be asked for a million times.
        self.encoded: dict[int, tuple[str, bytes]] = {}

    def run(self, stream: BinaryIO) -> Any:
        """The value of the pickle that begins at the stream's position, which ends after its STOP.

        Raises:
            UnreadableError: not a well-formed pickle (``corrupt``).
            UnsafeError: it calls what no checkpoint calls.
            UnsupportedError: instructions whose meaning is outside the file.
            LimitError: too many instructions, or contents made to exhaust time or memory.
        """
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        try:
            for op, arg, _ in pickletools.genops(stream):
                self.spend(1)
                if op.name == "STOP":
                    return self.stack.pop()
                handler = _HANDLERS.get(op.name)
                if handler is None:
                    _refuse_instruction(op.name)
                handler(self, arg)
        except (SymdiagError, MemoryError, OSError):
            raise
        except Exception as error:  # a malformed program can fail in any way; none of them matters
            raise UnreadableError(
                f"damaged pickle ({type(error).__name__})",
                code="corrupt",
                hint="Copy or download the file again, or save it anew.",
            ) from error
        raise UnreadableError("damaged pickle (no end)", code="corrupt", hint="Save it anew.")

    def spend(self, steps: int) -> None:
        """Charge ``steps`` of the file's instructions."""
        self.left -= steps
        if self.left < 0:
            raise LimitError(
                f"pickle has more than {self.limits.max_pickle_ops} instructions",
                hint="Save only the state dict.",
            )

    def latin1(self, text: str) -> bytes:
        """``text`` as bytes, encoded once."""
        if id(text) not in self.encoded:
            self.encoded[id(text)] = text, text.encode("latin-1")
        return self.encoded[id(text)][1]

    def nested(self, data: bytes) -> Any:
        """What the torch file ``data``, pickled inside this pickle, holds."""
        if self.nested_load is None:
            raise UnsupportedError(
                "a torch file is nested in a torch file", hint="Save only the state dict."
            )
        return self.nested_load(data, self)

    def begin(self, _: Any) -> None:
        """MARK: what follows belongs together."""
        self.outer.append(self.stack)
        self.stack = []

    def items(self) -> list[Any]:
        """What came after the last mark."""
        found = self.stack
        self.stack = self.outer.pop()
        return found

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def remember(self, index: Any) -> None:
        self.memo[index] = self.stack[-1]

    def memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def recall(self, index: Any) -> None:
        self.stack.append(self.memo[index])

    def pop(self, _: Any) -> None:
        # as the standard library's machine: POP over an empty frame drops the mark
        if self.stack:
            self.stack.pop()
        else:
            self.items()

    def last(self, count: int) -> None:
        found = tuple(self.stack[-count:])
        if len(found) != count:
            raise ValueError("stack underflow")
        self.stack[-count:] = [found]

    def long(self, value: int) -> None:
        if value.bit_length() > 8 * _LONGEST_INT:
            raise LimitError(
                f"an integer of {value.bit_length()} bits", hint="The file is damaged."
            )
        self.stack.append(value)

    def protocol(self, number: int) -> None:
        if number > 5:
            raise UnsupportedError(f"pickle protocol {number}", hint="Save the file anew.")

    def extend(self, items: list[Any]) -> None:
        """APPEND(S), ADDITEMS: onto a list, or a record of a list or set."""
        target = self.stack[-1]
        (target.items if isinstance(target, Record) else exact(target, list)).extend(items)

    def append(self, _: Any) -> None:
        item = self.stack.pop()
        self.extend([item])

    def set_items(self, pairs: list[Any]) -> None:
        """SETITEM(S): into a dict, or a record of one."""
        target = self.stack[-1]
        into = target.entries if isinstance(target, Record) else exact(target, dict)
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            into[plain_key(key, self.same_hash)] = value

    def set_item(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def pairs(self, _: Any) -> None:
        found = self.items()
        self.stack.append({})
        self.set_items(found)

    def collection(self, name: str, items: list[Any]) -> None:
        record = Record.of(name)
        record.items = items
        self.stack.append(record)

    def global_by_name(self, both: str) -> None:
        module, _, name = both.partition(" ")
        self.stack.append(reference(module, name))

    def global_from_stack(self, _: Any) -> None:
        # Where scanners fail: the two texts may come from the memo, in any order of writing.
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(reference(exact(module, str), exact(name, str)))

    def reduce(self, _: Any) -> None:
        # The instruction that runs code in Python. `called` only describes what would come of it.
        args, function = self.stack.pop(), self.stack.pop()
        self.stack.append(called(self, function, args))

    def new_object(self, _: Any) -> None:
        args, cls = self.stack.pop(), self.stack.pop()
        self.stack.append(called(self, cls, args))

    def new_object_ex(self, _: Any) -> None:
        kwargs, args, cls = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self.stack.append(called(self, cls, args, kwargs))

    def instance(self, both: str) -> None:
        args = tuple(self.items())
        self.global_by_name(both)
        self.stack.append(called(self, self.stack.pop(), args))

    def object(self, _: Any) -> None:
        cls, *args = self.items()
        self.stack.append(called(self, cls, tuple(args)))

    def build(self, _: Any) -> None:
        # Python would call __setstate__, or set any attributes the file likes; here the state is put
        # down beside the object, and an object of ours takes the few fields that describe it.
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Record):
            target.set_state(state, self.spend)
        elif isinstance(target, Array):
            target.set_state(state)
        elif isinstance(target, DType):
            target.order = exact(exact(state, tuple)[1], str)
            if state[3] is not None:  # the fields of a structured dtype
                target.code = "V"
        elif not isinstance(target, dict | Tensor | Storage):
            # the attributes of dicts (_metadata) and tensors (tags) are not ours to read
            raise UnsafeError(
                "a pickle sets the state of something other than an object",
                hint="No library writes such a file; ask its author for a state dict.",
            )

    def persistent(self, identifier: Any) -> None:
        self.stack.append(self.persistent_load(identifier))


def _refuse_instruction(name: str) -> NoReturn:
    if name.startswith("EXT"):
        reason = "names a class by a number of the program that wrote it"
    elif name.endswith("BUFFER"):
        reason = "keeps its data outside the file"
    else:
        reason = "is not one of Python's"
    raise UnsupportedError(
        f"pickle instruction {name} {reason}",
        hint="Save the tensors with torch.save(model.state_dict(), 'model.pt').",
    )


def run_bytes(machine: Machine, program: bytes) -> Any:
    """The value of the one pickle that ``program`` is; bytes after its end are refused."""
    stream = io.BytesIO(program)
    value = machine.run(stream)
    if rest := len(program) - stream.tell():
        raise UnreadableError(
            f"ambiguous pickle: {rest} bytes follow its end",
            code="ambiguous-archive",
            hint="Save one object to a file.",
        )
    return value


def _push(make: Callable[[Any], Any]) -> Callable[[Machine, Any], None]:
    """A handler that pushes ``make(argument)``."""
    return lambda machine, arg: machine.push(make(arg))


def _ignore(machine: Machine, arg: Any) -> None:
    """A handler of what only helps a loader read ahead."""


_Handler = Callable[[Machine, Any], None]
_HANDLERS: dict[str, _Handler] = {
    "PROTO": Machine.protocol,
    "FRAME": _ignore,
    "MARK": Machine.begin,
    "POP": Machine.pop,
    "POP_MARK": lambda machine, _: _ignore(machine, machine.items()),
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    "NONE": _push(lambda _: None),
    "NEWTRUE": _push(lambda _: True),
    "NEWFALSE": _push(lambda _: False),
    "EMPTY_TUPLE": _push(lambda _: ()),
    "EMPTY_LIST": _push(lambda _: []),
    "EMPTY_DICT": _push(lambda _: {}),
    "EMPTY_SET": lambda machine, _: machine.collection("builtins.set", []),
    "FROZENSET": lambda machine, _: machine.collection("builtins.frozenset", machine.items()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.items())),
    "TUPLE1": lambda machine, _: machine.last(1),
    "TUPLE2": lambda machine, _: machine.last(2),
    "TUPLE3": lambda machine, _: machine.last(3),
    "LIST": lambda machine, _: machine.push(machine.items()),
    "DICT": Machine.pairs,
    "APPEND": Machine.append,
    "APPENDS": lambda machine, _: machine.extend(machine.items()),
    "ADDITEMS": lambda machine, _: machine.extend(machine.items()),
    "SETITEM": Machine.set_item,
    "SETITEMS": lambda machine, _: machine.set_items(machine.items()),
    "GLOBAL": Machine.global_by_name,
    "STACK_GLOBAL": Machine.global_from_stack,
    "REDUCE": Machine.reduce,
    "NEWOBJ": Machine.new_object,
    "NEWOBJ_EX": Machine.new_object_ex,
    "INST": Machine.instance,
    "OBJ": Machine.object,
    "BUILD": Machine.build,
    "PERSID": Machine.persistent,
    "BINPERSID": lambda machine, _: machine.persistent(machine.stack.pop()),
    "MEMOIZE": Machine.memoize,
    **{name: Machine.remember for name in ("PUT", "BINPUT", "LONG_BINPUT")},
    **{name: Machine.recall for name in ("GET", "BINGET", "LONG_BINGET")},
    **{name: Machine.long for name in ("INT", "BININT", "BININT1", "BININT2")},
    **{name: Machine.long for name in ("LONG", "LONG1", "LONG4")},
    **{name: _push(lambda arg: arg) for name in ("FLOAT", "BINFLOAT")},
    **{name: _push(lambda arg: arg) for name in ("STRING", "BINSTRING", "SHORT_BINSTRING")},
    **{name: _push(lambda arg: arg) for name in ("UNICODE", "BINUNICODE", "BINUNICODE8")},
    **{name: _push(lambda arg: arg) for name in ("SHORT_BINUNICODE", "SHORT_BINBYTES")},
    **{name: _push(bytes) for name in ("BINBYTES", "BINBYTES8", "BYTEARRAY8")},
}
