"""Which names a pickle refers to, and which of them a checkpoint may.

The list is of what torch.save needs for tensors; everything else is refused, whether or not it looks dangerous.
"""

from __future__ import annotations

import pickletools
import re
from typing import NoReturn

from symdiag.errors import UnsafeError, listed
from symdiag.formats.inert import is_inert
from symdiag.formats.limits import Limits

RECIPE = (
    "If you trust its origin, convert it once where it was made, saving tensors only: torch.save(model.state_dict(), "
    "'model.pt') (or safetensors.torch.save_file). symdiag has no option that runs a pickle."
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
}
UNTYPED = ("torch.storage.UntypedStorage", "torch.UntypedStorage")
_CONSTANT = re.compile(
    r"torch\.(bool|half|double|float|long|int|short|per_\w+|strided|sparse_\w+|(b?float|q?u?int|complex)\d+(_\w+)?)"
)
_PLAIN_REBUILDS = frozenset(
    f"torch._utils._rebuild_{name}"
    for name in ("tensor", "tensor_v2", "tensor_v3", "parameter", "parameter_with_state")
) | {"torch._tensor._rebuild_from_type_v2"}
ODD_REBUILDS = {
    "torch._utils._rebuild_qtensor": "quantised",
    "torch._utils._rebuild_sparse_tensor": "sparse",
    "torch._utils._rebuild_sparse_csr_tensor": "sparse",
    "torch._utils._rebuild_meta_tensor_no_storage": "meta (it has no data)",
    "torch._utils._rebuild_nested_tensor": "nested",
    "torch._utils._rebuild_device_tensor_from_numpy": "device-specific",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": "device-specific",
    "torch._utils._rebuild_wrapper_subclass": "a wrapper subclass",
}
_TENSOR_TYPES = ("torch.Tensor", "torch.nn.parameter.Parameter")
_HARMLESS = frozenset(
    {
        "collections.OrderedDict",
        "torch.Size",
        "torch.device",
        "torch.serialization._get_layout",
        *_TENSOR_TYPES,
        *UNTYPED,
    }
)


def scan_globals(data: bytes, limits: Limits) -> tuple[list[str], bool]:
    """Every global a pickle names, without running it, and whether it parses up to its STOP instruction."""
    names: dict[str, None] = {}
    strings: list[str] = []
    try:
        for count, (op, arg, _) in enumerate(pickletools.genops(data)):
            if count > limits.max_pickle_ops:
                break
            if op.name in ("GLOBAL", "INST"):
                names[str(arg).replace(" ", ".")] = None
            elif op.name == "STACK_GLOBAL":
                names[".".join(strings[-2:])] = None
            elif isinstance(arg, str):
                strings.append(arg)
            if op.name == "STOP":
                return list(names), True
    except Exception:  # pickletools raises whatever its argument decoders raise
        return list(names), False
    return list(names), False


def refuse_pickle(names: list[str], what: str) -> NoReturn:
    """Refuse a pickle, naming the globals it wants to call.

    Raises:
        UnsafeError: always.
    """
    wants = f" that calls {listed(names)}" if names else ""
    raise UnsafeError(f"{what}{wants}; reading it would run code from the file", hint=RECIPE)


def check_globals(data: bytes, limits: Limits) -> tuple[str, ...]:
    """The constraint classes a torch pickle mentions; any other name beyond plain tensors is refused.

    Raises:
        UnsafeError: names of classes or functions outside the short list torch.save needs for tensors.
    """
    names, _ = scan_globals(data, limits)
    unknown = [n for n in names if not _is_known(n)]
    if any(n.startswith("torch.nn.modules.") or _looks_like_module(n) for n in unknown):
        refuse_pickle(unknown, "a whole pickled model, not a state dict,")
    if unknown:
        refuse_pickle(unknown, "a pickle")
    return tuple(n for n in names if is_inert(n))


def _looks_like_module(name: str) -> bool:
    return any(word in name for word in (".layers.", ".nn.", ".modules.", ".guides."))


def _is_known(name: str) -> bool:
    if name in _HARMLESS or name in _PLAIN_REBUILDS or name in ODD_REBUILDS or is_inert(name):
        return True
    return name.removeprefix("torch.") in STORAGES or is_constant(name)


def is_constant(name: str) -> bool:
    """Whether ``name`` is a dtype, layout or quantisation scheme of torch."""
    return _CONSTANT.fullmatch(name) is not None
