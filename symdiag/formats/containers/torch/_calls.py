"""What the calls in a pickle would give, by a short table of ours; nothing is called.

The table covers what torch, numpy and the standard library write for tensors, arrays and
collections. Whatever is not in it becomes a `Record`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from symdiag.errors import UnsafeError, UnsupportedError, shown
from symdiag.formats.containers.torch._values import (
    Array,
    DType,
    Global,
    Record,
    Storage,
    Tensor,
    count,
    counts,
    exact,
    plain_key,
)

STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
    "UntypedStorage": None,
}
ODD_REBUILDS = {
    "_rebuild_qtensor": "quantised",
    "_rebuild_sparse_tensor": "sparse",
    "_rebuild_sparse_csr_tensor": "sparse",
    "_rebuild_meta_tensor_no_storage": "meta (it has no data)",
    "_rebuild_nested_tensor": "nested",
    "_rebuild_device_tensor_from_numpy": "device-specific",
    "_rebuild_device_tensor_from_cpu_tensor": "device-specific",
    "_rebuild_wrapper_subclass": "a wrapper subclass",
}
# Calls to these have no place in a checkpoint: whoever wrote them wants the loader to act. They are
# refused so that the user hears of it. Safety does not rest on this list: nothing is ever called.
_ALARMING = re.compile(
    r"(os|posix|nt|subprocess|sys|importlib|runpy|pty|shutil|socket|ctypes|webbrowser|codeop|pdb|bdb"
    r"|timeit|cProfile|pickle|_pickle|marshal|tempfile|urllib|ftplib|smtplib|asyncio|zipimport|pydoc)"
    r"\..*"
    r"|builtins\.(eval|exec|execfile|compile|open|file|__import__|breakpoint|input|globals|vars|setattr"
    r"|delattr|apply|map|filter)|_?io\.(open|FileIO|open_code)"
    r"|(code|profile|commands|platform|pip)\.(interact|Interactive\w+|run|runctx|getoutput"
    r"|getstatusoutput|popen|main)"
    r"|torch\.(load|hub\..*|serialization\.load)|numpy\.(load|fromfile|memmap|testing\..*)"
    r"|operator\.(attrgetter|methodcaller)"
)


class Context(Protocol):
    """What a constructor needs of the interpreter."""

    def spend(self, steps: int) -> None:
        """Charge work beyond the instruction itself; raises LimitError when none is left."""

    def latin1(self, text: str) -> bytes:
        """``text`` as bytes, encoded once however often it is asked for."""

    def nested(self, data: bytes) -> Any:
        """What a torch file inside the pickle holds."""


def called(context: Context, function: Any, args: Any, kwargs: Any = None) -> Any:
    """What calling ``function`` would give, described rather than done."""
    args = exact(args, tuple)
    if isinstance(function, Record):
        return Record.of(f"{function.name[:200]}()", args)
    if not isinstance(function, Global):
        raise TypeError("not callable")
    name = function.name
    if _ALARMING.fullmatch(name):
        raise UnsafeError(
            f"the file's pickle calls {shown(name)}: torch.load or pickle.load would run that",
            hint="Do not load this file with either. If it should be a checkpoint, ask its author "
            "for one saved with torch.save(model.state_dict(), 'model.pt').",
        )
    # Exact names only: a prefix or suffix match could be bent to another function.
    made = _CONSTRUCTORS.get(name)
    if made is not None:
        return made(context, args)
    last = name.rpartition(".")[2]
    if name == f"torch._utils.{last}" and last in ODD_REBUILDS:
        return Tensor(dtype="", kind=ODD_REBUILDS[last])
    record = Record.of(name, args)
    if kwargs:
        record.state = exact(kwargs, dict)
    return record


def storage_dtype(kind: Any) -> str | None:
    """The dtype of a storage class (``torch.FloatStorage``, ``torch.cuda.FloatStorage``, …)."""
    if not isinstance(kind, Global) or not kind.name.startswith("torch."):
        raise TypeError("not a storage class")
    return STORAGES[kind.name.rpartition(".")[2]]


def _dense(typed: bool) -> Callable[[Context, tuple[Any, ...]], Tensor]:
    """A rebuild: storage, offset, shape, stride (and dtype, for storages without one)."""

    def rebuilt(_: Context, args: tuple[Any, ...]) -> Tensor:
        storage, offset, shape, stride = args[:4]
        if not isinstance(storage, Storage):
            raise TypeError("tensor without a storage")
        dtype = storage.dtype if typed else exact(args[6], Global).name.removeprefix("torch.")
        return Tensor(dtype or "uint8", counts(shape), counts(stride), count(offset), storage)

    return rebuilt


def _from_type(context: Context, args: tuple[Any, ...]) -> Any:
    """``_rebuild_from_type_v2(function, type, args, state)``: what the function gives."""
    # Its first argument is a function to call, so only the rebuilds themselves are followed.
    if not (isinstance(args[0], Global) and args[0].name.startswith("torch._utils.")):
        return Record.of("torch._tensor._rebuild_from_type_v2", args)
    return called(context, args[0], args[2])


def _dict(context: Context, args: tuple[Any, ...]) -> dict[Any, Any]:
    """OrderedDict, Counter and the like: empty, from a dict, or from a list of pairs."""
    given = args[0] if args else {}
    if isinstance(given, list | tuple):
        context.spend(len(given))
        hashes: dict[int, list[Any]] = {}
        return {plain_key(k, hashes): v for k, v in (exact(list(p[:2]), list) for p in given)}
    context.spend(len(exact(given, dict)))
    return dict(given)


def _collection(name: str) -> Callable[[Context, tuple[Any, ...]], Record]:
    """A set, frozenset and so on, sharing the list it is made from."""

    def made(_: Context, args: tuple[Any, ...]) -> Record:
        record = Record.of(name)
        given = args[0] if args else []
        if isinstance(given, Record):
            record.items = given.items
        elif type(given) is tuple:
            record.args = given
        else:
            record.items = exact(given, list)
        return record

    return made


def _bytes(context: Context, args: tuple[Any, ...]) -> bytes:
    """``_codecs.encode(text, 'latin1')``, as protocol 2 writes bytes; ``bytes()`` when empty."""
    if not args:
        return b""
    if type(args[0]) is bytes:
        return args[0]
    if len(args) < 2 or args[1] not in ("latin1", "latin-1"):
        raise UnsupportedError("a pickle encodes text other than latin-1", hint="Save it anew.")
    return context.latin1(exact(args[0], str))


def _numpy_array(_: Context, args: tuple[Any, ...]) -> Array:
    return Array(shape=counts(args[1]))


def _numpy_buffer(_: Context, args: tuple[Any, ...]) -> Array:
    data, dtype, shape, order = args
    return Array(exact(dtype, DType), counts(shape), order == "F", data)


def _numpy_scalar(_: Context, args: tuple[Any, ...]) -> Array:
    dtype, data = args
    return Array(exact(dtype, DType), (), False, data, scalar=True)


def _jax_array(_: Context, args: tuple[Any, ...]) -> Array:
    """``_reconstruct_array(function, arguments, state, …)``: a numpy array within."""
    array = Array()
    array.set_state(args[2])
    return array


def _attribute(_: Context, args: tuple[Any, ...]) -> Any:
    """``getattr(Class, 'Inner')``, as protocol 2 writes nested classes: a longer name."""
    owner, name = args[:2]
    if not isinstance(owner, Global):
        return Record.of("builtins.getattr", args)
    return Global(f"{owner.name}.{exact(name, str)}"[:4096])


def _reconstructor(context: Context, args: tuple[Any, ...]) -> Any:
    """``copyreg._reconstructor(class, base, state)`` of protocols 0 and 1."""
    cls, _, state = args
    # the base (dict, list, object) says what the state is; its type shows that as well
    made = called(context, cls, ())
    if isinstance(made, Record) and isinstance(state, dict):
        made.entries = state
    elif isinstance(made, Record) and isinstance(state, list):
        made.items = state
    return made


_CONSTRUCTORS: Mapping[str, Callable[[Context, tuple[Any, ...]], Any]] = {
    "torch._utils._rebuild_tensor": _dense(True),
    "torch._utils._rebuild_tensor_v2": _dense(True),
    "torch._utils._rebuild_tensor_v3": _dense(False),
    "torch._utils._rebuild_parameter": lambda _, args: args[0],
    "torch._utils._rebuild_parameter_with_state": lambda _, args: args[0],
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.storage._load_from_bytes": lambda context, args: context.nested(exact(args[0], bytes)),
    "torch.Size": lambda _, args: counts(args[0]) if args else (),
    "torch.device": lambda _, args: ":".join([exact(args[0], str), *map(str, counts(args[1:]))]),
    "torch.serialization._get_layout": lambda _, args: exact(args[0], str),
    "collections.OrderedDict": _dict,
    "collections.Counter": _dict,
    "collections.defaultdict": lambda context, args: _dict(context, args[1:]),
    "builtins.dict": _dict,
    "builtins.set": _collection("builtins.set"),
    "builtins.frozenset": _collection("builtins.frozenset"),
    "builtins.list": _collection("builtins.list"),
    "builtins.complex": lambda _, args: complex(*(float(exact(a, float)) for a in args[:2])),
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    "builtins.getattr": _attribute,
    "_codecs.encode": _bytes,
    "copyreg._reconstructor": _reconstructor,
    "copyreg.__newobj__": lambda context, args: called(context, args[0], args[1:]),
    "copyreg.__newobj_ex__": lambda context, args: called(context, args[0], args[1], args[2]),
    "numpy._core.multiarray._reconstruct": _numpy_array,
    "numpy._core.multiarray.scalar": _numpy_scalar,
    "numpy._core.numeric._frombuffer": _numpy_buffer,
    "numpy.dtype": lambda _, args: DType(exact(args[0], str)[:16]),
    "jax._src.array._reconstruct_array": _jax_array,
}
