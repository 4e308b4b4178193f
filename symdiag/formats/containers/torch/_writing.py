"""Writing a tree with torch: tensors for arrays, objects for constraint stand-ins, dicts for the
rest.

Constraint objects (Pyro's and TyXe's parameter stores) are written as their library wrote them, by
name, without importing the class. Modules and other objects are written as the dicts they were read
as, which ``load_state_dict`` takes.
"""

from __future__ import annotations

import io
import pickle
import re
from typing import Any

import numpy as np

from symdiag.errors import OutputError, shown
from symdiag.formats import tree
from symdiag.formats.interface import RawCheckpoint

CLASS_KEY = "__class__"
_CONSTRAINT = re.compile(r"(torch|pyro)\.distributions\.constraints\._?[A-Za-z]+")


class _Named:
    """Stands for an instance of the class called ``class_name`` while it is written."""

    def __init__(self, class_name: str, state: dict[str, Any]) -> None:
        self.class_name = class_name
        self.state = state


def saved(raw: RawCheckpoint, *, zipped: bool) -> bytes:
    """``raw.tree`` as torch.save writes it, in the zip format or the one before."""
    import torch

    if not zipped:
        _refuse_float8(raw)
    out = io.BytesIO()
    # torch.save is given a pickler of ours: only it can write an object without its class at hand
    restored = _with_objects(tensors(raw))
    torch.save(restored, out, pickle_module=_Pickling, _use_new_zipfile_serialization=zipped)
    return out.getvalue()


def pickled(raw: RawCheckpoint, *, as_tensors: bool) -> bytes:
    """``raw.tree`` as one pickle, of tensors or of numpy arrays."""
    _refuse_float8(raw)
    out = io.BytesIO()
    _Pickling.Pickler(out, 4).dump(_with_objects(tensors(raw) if as_tensors else raw.tree))
    return out.getvalue()


def _refuse_float8(raw: RawCheckpoint) -> None:
    """Refuse what torch would write without a word and then fail to load: float8 outside a zip."""
    for key, dtype in raw.foreign_dtypes.items():
        if dtype.startswith("float8"):
            raise OutputError(
                f"torch loads {dtype} from its zip format only (tensor {shown(key)})",
                hint="Convert the tensors to bfloat16, or save the original with torch.save anew.",
            )


def tensors(raw: RawCheckpoint) -> Any:
    """``raw.tree`` with tensors in place of arrays, foreign dtypes returned to their own kind."""
    import torch

    def restored(key: str, leaf: Any) -> Any:
        if not isinstance(leaf, np.ndarray):
            return leaf.item() if isinstance(leaf, np.generic) else leaf
        tensor = torch.from_numpy(np.array(leaf))
        if key in raw.foreign_dtypes:
            return tensor.to(getattr(torch, raw.foreign_dtypes[key]))
        return tensor

    return tree.mapped(raw.tree, restored)


def _with_objects(node: Any) -> Any:
    """The tree with plain forms of constraint objects turned back into stand-ins."""
    if isinstance(node, dict):
        rebuilt = {key: _with_objects(value) for key, value in node.items()}
        name = rebuilt.get(CLASS_KEY)
        if isinstance(name, str) and _CONSTRAINT.fullmatch(name):
            return _Named(name, {key: v for key, v in rebuilt.items() if key != CLASS_KEY})
        return rebuilt
    if isinstance(node, list | tuple):
        items = [_with_objects(item) for item in node]
        return items if isinstance(node, list) else tuple(items)
    return node


class _Pickling:
    """The pickle module torch.save is given: writes stand-ins under the name they stand for."""

    class Pickler(pickle._Pickler):  # the Python one, whose save can be overridden
        """Writes stand-ins by name, everything else as usual."""

        def save(self, obj: Any, save_persistent_id: bool = True) -> None:
            """Write one object."""
            if not isinstance(obj, _Named):
                super().save(obj, save_persistent_id)  # type: ignore[misc]  # not in its stubs
                return
            module, _, last = obj.class_name.rpartition(".")
            named = pickle.GLOBAL + f"{module}\n{last}\n".encode()
            self.write(named + pickle.EMPTY_TUPLE + pickle.NEWOBJ)  # type: ignore[attr-defined]
            if obj.state:
                self.save(obj.state)
                self.write(pickle.BUILD)  # type: ignore[attr-defined]

    dumps = staticmethod(pickle.dumps)
    dump = staticmethod(pickle.dump)
