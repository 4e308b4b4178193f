"""ArviZ InferenceData: the arrays of its ``posterior`` group, from memory or netCDF-4, and back.

Files are read with h5py where it is installed.

Links out of the file, virtual and externally stored datasets are not followed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symdiag.arrays import Array
from symdiag.errors import InputError, UnreadableError, UnsupportedError, UsageError, shown
from symdiag.formats.interface import RawCheckpoint
from symdiag.formats.limits import DEFAULT, Limits

_MAGIC = b"\x89HDF\r\n\x1a\n"
_GROUP = "posterior"
_COORDINATES = frozenset({"chain", "draw"})


def is_hdf5(path: Path) -> bool:
    """Whether a regular file starts as HDF5 does; False for what cannot be opened (reading it says
    why).
    """
    try:
        # a pipe would lose the bytes that are read here to look at them
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except (OSError, ValueError):
        return False


def posterior_group(source: Any) -> RawCheckpoint | None:
    """The variables (chain, draw, …) of a live InferenceData, DataTree or such a group of one; None
    for anything else.
    """
    group = getattr(source, _GROUP, None)
    if group is None and type(source).__name__ == "DataTree" and _GROUP in source.children:
        group = source[_GROUP]
    found = getattr(source if group is None else group, "data_vars", None)
    # told by what it offers, not by its class: neither arviz nor xarray has to be importable here
    if found is None:
        return None
    # xarray knows axes by name: whoever made it may have put others first
    tree = {
        str(name): np.asarray(variable.transpose("chain", "draw", ...).values)
        for name, variable in found.items()
        if variable.dtype.kind == "f" and {"chain", "draw"} <= set(variable.dims)
    }
    digest = hashlib.sha256()
    for name, values in tree.items():
        # names are hashed with the values: two variables exchanged are another posterior
        digest.update(name.encode() + np.ascontiguousarray(values).tobytes())
    return RawCheckpoint(f"<{type(source).__name__}>", digest.hexdigest(), "memory", tree)


def inference_data(draws: Mapping[str, Array]) -> Any:
    """Arrays (chain, draw, …) as the ``posterior`` group of an InferenceData or DataTree.

    Raises:
        UsageError: ``missing-extra`` without ArviZ.
    """
    try:
        import arviz
    except ImportError as error:
        raise UsageError(
            "to_arviz needs arviz",
            code="missing-extra",
            hint="pip install arviz, or save the draws as npz",
        ) from error
    try:
        return arviz.from_dict(posterior=dict(draws))
    except TypeError:  # from ArviZ 1 on, groups come in one dict
        return arviz.from_dict({"posterior": dict(draws)})


def read_posterior_group(path: Path, *, limits: Limits = DEFAULT) -> RawCheckpoint:
    """The variables (chain, draw, …) of the ``posterior`` group.

    Raises:
        UnsupportedError: ``missing-package`` without h5py; ``not-samples`` for HDF5 without such a
            group.
        InputError: damaged, too large, or variables stored elsewhere.
    """
    h5py = _h5py(path)
    try:
        with h5py.File(path, "r") as file:
            group = (
                # getlink first: get alone would already follow a link to wherever it points
                file.get(_GROUP)
                if isinstance(file.get(_GROUP, getlink=True), h5py.HardLink)
                else None
            )
            if not isinstance(group, h5py.Group):
                raise UnsupportedError(
                    f"{path} is an HDF5 file without a group {_GROUP!r}: no ArviZ InferenceData",
                    code="not-samples",
                    hint="save it with InferenceData.to_netcdf, or the draws alone with "
                    "numpy.savez",
                )
            tree = {
                name: _variable(h5py, group, name, limits)
                for name in group
                if name not in _COORDINATES
            }
    # h5py raises any of these over damaged metadata, depending on which structure is hit
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise UnreadableError(
            f"{path}: damaged HDF5 file ({type(error).__name__}: {error})", code="corrupt"
        ) from error
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return RawCheckpoint(
        str(path), digest, "netcdf", {name: values for name, values in tree.items() if values.ndim}
    )


def _h5py(path: Path) -> ModuleType:
    try:
        import h5py
    except ImportError:
        raise UnsupportedError(
            f"{path} is a netCDF or HDF5 file; reading it needs h5py",
            code="missing-package",
            hint="pip install h5py, or save the draws with numpy.savez and give --chains",
        ) from None
    module: ModuleType = h5py
    return module


def _variable(h5py: Any, group: Any, name: str, limits: Limits) -> NDArray[Any]:
    """One dataset; an array without axes for anything that is no floating-point dataset."""
    # soft and external links may point anywhere, also outside the file
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise InputError(
            f"{shown(name)} is a link out of the posterior group", code="unsupported-tensor"
        )
    found = group[name]
    if not isinstance(found, h5py.Dataset) or found.dtype.kind != "f":
        return np.zeros(())
    # an external dataset would make h5py open a path that the file chooses
    if found.is_virtual or found.external:
        raise InputError(
            f"the values of {shown(name)} are stored in another file", code="unsupported-tensor"
        )
    # the shape is the header's claim; a chunked dataset may declare far more than it stores
    extent = limits.check_shape(found.shape, found.dtype.itemsize, f"array {shown(name)}")
    limits.check_unfolded(extent, found.id.get_storage_size(), f"array {shown(name)}")
    values: NDArray[Any] = found[()]
    return values
