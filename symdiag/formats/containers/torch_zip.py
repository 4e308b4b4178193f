"""What torch.save writes: a zip with one pickle and raw storages.

Three steps, each refusing before the next begins: the zip is parsed strictly; the pickle is walked without running
it (`symdiag.formats.pickle_skeleton`); only then torch.load(weights_only=True), on a torch recent enough, reads
the same bytes. There is no fallback and no option that loosens this.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from typing import Any, BinaryIO, NoReturn

import numpy as np

from symdiag.errors import LimitError, UnreadableError, UnsafeError, UnsupportedError, shown
from symdiag.formats import dtypes, inert, tree
from symdiag.formats.interface import Content, HeaderEntry, RawCheckpoint
from symdiag.formats.limits import Limits
from symdiag.formats.pickle_globals import RECIPE, check_globals, is_constant
from symdiag.formats.pickle_skeleton import Global, TensorSpec, skeleton
from symdiag.formats.zip_archive import LOCAL_MAGIC, Archive, open_archive

name = "torch-zip"
OLDEST_TORCH = (2, 10)
_PICKLE = "data.pkl"
_ACCESSORIES = frozenset(
    {"version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id"}
)


def matches(stream: BinaryIO, limits: Limits) -> bool:
    """Whether this is a zip archive with a ``data.pkl`` in it."""
    stream.seek(0)
    if stream.read(4) != LOCAL_MAGIC:
        return False
    members = open_archive(stream, limits, allow_deflate=True).members
    return any(n.rpartition("/")[2] == _PICKLE for n in members)


def header(stream: BinaryIO, limits: Limits) -> tuple[tuple[HeaderEntry, ...], dict[str, str]]:
    """Names, shapes and dtypes, from the pickle's text alone; torch is not imported."""
    _, specs, _ = _inspect(stream, limits)
    return tuple(HeaderEntry(key, spec.shape, spec.dtype) for key, spec in specs), {}


def read(stream: BinaryIO, limits: Limits) -> Content:
    """The tree torch.load gives, with numpy arrays for tensors and plain dicts for constraint objects."""
    archive, specs, constraints = _inspect(stream, limits)
    for member in archive.members:
        archive.payload(member)  # verifies every checksum, which torch.load does not promise
    content = _plain(_load(stream, constraints))
    shapes = [
        (key, leaf.shape)
        for key, leaf in tree.leaves(content, limits=limits)
        if isinstance(leaf, np.ndarray)
    ]
    if shapes != [(key, spec.shape) for key, spec in specs]:
        _inconsistent("", "list differs between two ways of reading it")
    foreign = {key: spec.dtype for key, spec in specs if spec.dtype in dtypes.FOREIGN_ITEMSIZE}
    return Content(tree=content, foreign_dtypes=foreign, tied=_tied(specs))


def encode(raw: RawCheckpoint) -> bytes:
    """``raw.tree`` as torch.save writes it; foreign dtypes and constraint objects return to their own kind."""
    import torch

    def restored(key: str, leaf: Any) -> Any:
        if not isinstance(leaf, np.ndarray):
            return leaf.item() if isinstance(leaf, np.generic) else leaf
        tensor = torch.from_numpy(np.array(leaf))
        return (
            tensor.to(getattr(torch, raw.foreign_dtypes[key]))
            if key in raw.foreign_dtypes
            else tensor
        )

    out = io.BytesIO()
    torch.save(_with_objects(tree.mapped(raw.tree, restored)), out, pickle_module=_Pickling)
    return out.getvalue()


def _inspect(
    stream: BinaryIO, limits: Limits
) -> tuple[Archive, list[tuple[str, TensorSpec]], tuple[str, ...]]:
    """Everything that can be judged without torch: layout, globals, tensor kinds, sizes."""
    archive = open_archive(stream, limits, allow_deflate=False)
    prefix = _check_members(archive)
    if archive.members[prefix + _PICKLE].size > limits.max_pickle_bytes:
        raise LimitError(
            f"{_PICKLE} is larger than {limits.max_pickle_bytes} bytes",
            hint="Save only the state dict.",
        )
    program = archive.payload(prefix + _PICKLE)
    constraints = check_globals(program, limits)
    found = list(tree.leaves(skeleton(program, limits), limits=limits))
    specs = [(key, leaf) for key, leaf in found if isinstance(leaf, TensorSpec)]
    for key, leaf in found:
        _check_leaf(key, leaf)
    total = sum(_check_tensor(key, spec, archive, prefix, limits) for key, spec in specs)
    limits.check_unfolded(
        total, sum(m.size for m in archive.members.values()), "the tensors together"
    )
    return archive, specs, constraints


def _check_members(archive: Archive) -> str:
    """The archive's one top folder, after checking that it holds what torch.save writes and nothing else."""
    pickles = [n for n in archive.members if n.endswith(".pkl")]
    if any("/code/" in n or n.endswith("constants.pkl") for n in archive.members):
        raise UnsafeError("a TorchScript archive, which contains code", hint=RECIPE)
    if len(pickles) != 1 or not pickles[0].endswith(f"/{_PICKLE}") or pickles[0].count("/") != 1:
        _ambiguous(
            f"it holds {len(pickles)} pickles; exactly one {_PICKLE}, in one top folder, is expected"
        )
    prefix = pickles[0].removesuffix(_PICKLE)
    for member in archive.members:
        inner = member.removeprefix(prefix)
        known = inner == _PICKLE or inner in _ACCESSORIES or _is_storage(inner)
        if not member.startswith(prefix) or not known:
            _ambiguous(f"member {shown(member)} is not one torch.save writes")
    return prefix


def _is_storage(inner: str) -> bool:
    folder, _, key = inner.partition("/")
    return folder == "data" and key.isascii() and key.isdigit()


def _check_leaf(key: str, leaf: Any) -> None:
    """Leaves are tensors, plain scalars, or torch constants such as a dtype."""
    plain = leaf is None or isinstance(leaf, (TensorSpec, bool, int, float, str))
    if not plain and not (isinstance(leaf, Global) and is_constant(leaf.name)):
        kind = leaf.name if isinstance(leaf, Global) else type(leaf).__name__.lower()
        _unsupported(
            f"entry {shown(key)} is a {shown(kind)}",
            "unsupported-tensor",
            "Save tensors and plain values.",
        )


def _check_tensor(key: str, spec: TensorSpec, archive: Archive, prefix: str, limits: Limits) -> int:
    """Bytes the tensor unfolds to, after checking that it is dense, of a known dtype, and inside its storage."""
    if spec.kind or spec.storage is None:
        _unsupported(
            f"tensor {shown(key)} is {spec.kind}",
            "unsupported-tensor",
            "Save it as a dense float32 tensor.",
        )
    if spec.dtype not in dtypes.NATIVE and spec.dtype not in dtypes.FOREIGN_ITEMSIZE:
        kind = "unsupported-tensor" if spec.dtype.startswith("q") else "unsupported-dtype"
        _unsupported(
            f"tensor {shown(key)} has dtype {shown(spec.dtype)}",
            kind,
            "Convert it to float32 before saving.",
        )
    storage = spec.storage
    member = archive.members.get(f"{prefix}data/{storage.key}")
    width = dtypes.itemsize(spec.dtype)
    declared = storage.numel * (dtypes.itemsize(storage.dtype) if storage.dtype in _SIZED else 1)
    if member is None or member.size != declared:
        _inconsistent(
            key,
            f"declares a storage of {declared} bytes, the archive holds {member.size if member else 0}",
        )
    if len(spec.shape) != len(spec.stride):
        _inconsistent(key, "has a shape and strides of different length")
    unfolded = limits.check_shape(spec.shape, width, f"tensor {shown(key)}")
    reach = (spec.offset + spec.span) * width
    if reach > declared and spec.span:
        _inconsistent(key, f"reaches {reach} bytes into a storage of {declared}")
    return unfolded


_SIZED = dtypes.NATIVE | set(dtypes.FOREIGN_ITEMSIZE)


def _tied(specs: list[tuple[str, TensorSpec]]) -> tuple[tuple[str, ...], ...]:
    """Keys of tensors that overlap in one storage (disjoint slices of a flat vector are not tied)."""
    by_storage: dict[str, list[tuple[int, int, str]]] = {}
    for key, spec in specs:
        if spec.storage is not None and spec.span:
            width = dtypes.itemsize(spec.dtype)
            extent = (spec.offset * width, (spec.offset + spec.span) * width, key)
            by_storage.setdefault(spec.storage.key, []).append(extent)
    return tuple(
        group for extents in by_storage.values() for group in _overlapping(sorted(extents))
    )


def _overlapping(extents: list[tuple[int, int, str]]) -> Iterator[tuple[str, ...]]:
    """Groups of keys whose extents, sorted by begin, overlap."""
    group: list[str] = []
    reach = 0
    for begin, end, key in extents:
        if begin >= reach:
            if len(group) > 1:
                yield tuple(group)
            group = []
        group.append(key)
        reach = max(reach, end)
    if len(group) > 1:
        yield tuple(group)


def _load(stream: BinaryIO, constraints: tuple[str, ...]) -> Any:
    """torch.load under the safe policy, constraint classes replaced by stand-ins that do nothing."""
    import torch

    _check_torch(torch.__version__)
    stubs = [(inert.stub(full_name), full_name) for full_name in constraints]
    stream.seek(0)
    try:
        with torch.serialization.safe_globals(stubs):  # type: ignore[arg-type]  # its stub omits (class, name) pairs
            return torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        first = shown(str(error).strip().splitlines()[0])
        raise UnsafeError(
            f"torch's restricted loader refuses the file: {first}", hint=RECIPE
        ) from error
    except (
        Exception
    ) as error:  # torch raises RuntimeError, KeyError, OverflowError and others on damaged files
        raise UnreadableError(
            f"torch cannot read the file ({type(error).__name__})",
            code="corrupt",
            hint="Save the file anew.",
        ) from error


def _check_torch(version: str) -> None:
    """Refuse a torch whose weights_only loader has known holes."""
    parts = version.split("+")[0].split(".")
    if tuple(int("".join(c for c in p if c.isdigit()) or 0) for p in parts[:2]) < OLDEST_TORCH:
        raise UnsafeError(
            f"torch {version} cannot read untrusted files safely (CVE-2025-32434, CVE-2026-24747); 2.10 is needed",
            code="torch-too-old",
            hint="Upgrade torch, or convert the file to safetensors, which symdiag reads without torch.",
        )


def _plain(node: Any) -> Any:
    """Dicts, lists, tuples, numpy arrays and plain scalars only."""
    import torch

    if isinstance(node, torch.Tensor):
        return _as_numpy(node)
    if isinstance(node, inert.Inert):
        return _plain(inert.to_dict(node))
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        items = [_plain(item) for item in node]
        return items if isinstance(node, list) else tuple(items)
    if node is None or isinstance(node, (bool, int, float, str)):
        return node
    return str(node)


def _as_numpy(tensor: Any) -> Any:
    """An array of its own, never a view into torch's storage (tied tensors would otherwise change together)."""
    import torch

    tensor = tensor.detach()
    if str(tensor.dtype).removeprefix("torch.") in dtypes.FOREIGN_ITEMSIZE:
        tensor = tensor.to(torch.float32)
    return np.array(tensor.numpy())


def _with_objects(node: Any) -> Any:
    """The tree with plain forms of constraint objects turned back into stand-ins."""
    if isinstance(node, dict):
        rebuilt = {key: _with_objects(value) for key, value in node.items()}
        return inert.from_dict(rebuilt) if inert.is_inert_dict(node) else rebuilt
    if isinstance(node, (list, tuple)):
        items = [_with_objects(item) for item in node]
        return items if isinstance(node, list) else tuple(items)
    return node


class _Pickling:
    """The pickle module torch.save is given: writes stand-ins under the name of the class they stand for."""

    class Pickler(pickle._Pickler):  # the Python one, whose save can be overridden
        """Writes stand-ins by name, everything else as usual."""

        def save(self, obj: Any, save_persistent_id: bool = True) -> None:
            """Write one object."""
            if not isinstance(obj, inert.Inert):
                super().save(obj, save_persistent_id)  # type: ignore[misc]  # not in the library's stubs
                return
            module, _, last = obj.global_name.rpartition(".")
            self.write(  # type: ignore[attr-defined]
                pickle.GLOBAL + f"{module}\n{last}\n".encode() + pickle.EMPTY_TUPLE + pickle.NEWOBJ
            )
            if obj.state:
                self.save(obj.state)
                self.write(pickle.BUILD)  # type: ignore[attr-defined]

    dumps = staticmethod(pickle.dumps)


def _unsupported(message: str, code: str, hint: str) -> NoReturn:
    raise UnsupportedError(f"{message}, which symdiag does not read", code=code, hint=hint)


def _inconsistent(key: str, message: str) -> NoReturn:
    raise UnreadableError(
        f"inconsistent torch file: tensor {shown(key)} {message}",
        code="corrupt",
        hint="Save the file anew.",
    )


def _ambiguous(message: str) -> NoReturn:
    raise UnreadableError(
        f"ambiguous torch archive: {message}",
        code="ambiguous-archive",
        hint="Save the file anew with torch.save.",
    )
