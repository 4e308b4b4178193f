"""Data sets: npz, csv, safetensors, .pt tensors, parquet; told apart by content, never by name."""

from __future__ import annotations

import csv
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symdiag.errors import InputError, SymdiagError, UnreadableError, UsageError

_INPUT_KEYS = ("x", "inputs", "features", "data", "images")
_TARGET_KEYS = ("y", "targets", "target", "labels", "label")


@dataclass(frozen=True)
class Dataset:
    """Inputs (N, ...) and targets (N,) or (N, d), float64, all finite."""

    inputs: NDArray[np.float64]
    targets: NDArray[np.float64]

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            raise InputError(
                f"{len(self.inputs)} inputs but {len(self.targets)} targets",
                code="bad-data",
                hint="Both arrays need the data points on their first axis.",
            )
        if len(self.inputs) == 0:
            raise InputError("the data set is empty", code="bad-data")
        for name, array in (("inputs", self.inputs), ("targets", self.targets)):
            if not np.isfinite(array).all():
                raise InputError(
                    f"the {name} contain NaN or infinity",
                    code="bad-data",
                    hint="Clean the data first.",
                )

    def __len__(self) -> int:
        return len(self.inputs)


def load_data(path: str | Path, *, target: str | None = None) -> Dataset:
    """Read a data set.

    Args:
        path: The file. Arrays are looked up as X and y (any case; also inputs/targets,
            features/labels).
        target: Name of the target column (csv, parquet) or array; csv needs it unless a column is
            called y.

    Raises:
        UnreadableError: The file cannot be opened or is none of the formats.
        InputError: Arrays are missing, of different lengths, empty or not finite (``bad-data``).
    """
    file = Path(path)
    try:
        reader = _reader(file)
        return reader(file, target)
    # raised on purpose, with a code and a hint of its own
    except SymdiagError:
        raise
    except OSError as error:
        raise UnreadableError(f"cannot read {file}: {error.strerror or error}") from error
    except Exception as error:  # a parser met a damaged file: whatever it raised, one answer
        raise UnreadableError(
            f"{file} is not a readable data file ({type(error).__name__}: {error})",
            hint="Give npz or safetensors with arrays X and y, a csv with a header, or parquet.",
        ) from error


def _reader(file: Path) -> Callable[[Path, str | None], Dataset]:
    with file.open("rb") as stream:
        head = stream.read(9)
    if not head:
        raise UnreadableError(f"{file} is empty")
    if head.startswith(b"PK"):
        with zipfile.ZipFile(file) as archive:
            members = archive.namelist()
        # npz and .pt are both zip archives; torch's alone holds a pickle by this name
        return _read_torch if any(name.endswith("data.pkl") for name in members) else _read_npz
    if head.startswith(b"PAR1"):
        return _read_parquet
    # safetensors: 8 bytes with the header's length, then the header, which is JSON
    if head[8:9] == b"{":
        return _read_safetensors
    return _read_csv


def _read_npz(file: Path, target: str | None) -> Dataset:
    # object arrays are pickles, and unpickling runs code from the file
    with np.load(file, allow_pickle=False) as archive:
        return _from_arrays({name: archive[name] for name in archive.files}, target)


def _read_safetensors(file: Path, target: str | None) -> Dataset:
    from safetensors.numpy import load_file

    return _from_arrays(load_file(file), target)


def _read_torch(file: Path, target: str | None) -> Dataset:
    import torch

    # weights_only for the same reason: data must not run code
    content = torch.load(file, map_location="cpu", weights_only=True)
    if isinstance(content, (list, tuple)) and len(content) == 2:
        content = dict(zip(("x", "y"), content, strict=True))
    if not isinstance(content, Mapping):
        raise InputError(
            f"{file} holds a {type(content).__name__}, not tensors X and y", code="bad-data"
        )
    tensors = {str(k): v.numpy() for k, v in content.items() if isinstance(v, torch.Tensor)}
    return _from_arrays(tensors, target)


def _read_csv(file: Path, target: str | None) -> Dataset:
    # -sig: a byte order mark would become part of the first column's name
    with file.open(newline="", encoding="utf-8-sig") as stream:
        header = next(csv.reader(stream))
    with warnings.catch_warnings():
        # "input contained no data": Dataset says it better
        warnings.simplefilter("ignore", UserWarning)
        table = np.loadtxt(file, delimiter=",", skiprows=1, ndmin=2, encoding="utf-8-sig")
    # without data rows loadtxt cannot know how many columns there are: reshape says it
    return _from_columns([name.strip() for name in header], table.reshape(-1, len(header)), target)


def _read_parquet(file: Path, target: str | None) -> Dataset:
    try:
        import pandas
    except ImportError as error:
        raise UsageError(
            "reading parquet needs pandas and pyarrow", hint="pip install pandas pyarrow"
        ) from error
    frame = pandas.read_parquet(file)
    return _from_columns([str(c) for c in frame.columns], frame.to_numpy(dtype=np.float64), target)


def _from_columns(names: list[str], table: NDArray[Any], target: str | None) -> Dataset:
    wanted = target or _pick(names, _TARGET_KEYS)
    if wanted not in names:
        raise UsageError(
            f"no target column '{wanted}'" if wanted else "which column is the target?",
            code="bad-option",
            hint=f"--target NAME, one of: {', '.join(names[:20])}.",
        )
    column = names.index(wanted)
    return Dataset(
        np.delete(table, column, axis=1).astype(np.float64), table[:, column].astype(np.float64)
    )


def _from_arrays(arrays: Mapping[str, NDArray[Any]], target: str | None) -> Dataset:
    targets = target or _pick(arrays, _TARGET_KEYS)
    inputs = _pick(arrays, _INPUT_KEYS)
    if targets is None or targets not in arrays or inputs is None:
        raise InputError(
            f"no arrays X and y among: {', '.join(arrays) or 'nothing'}",
            code="bad-data",
            hint="Save the arrays under the names X and y.",
        )
    return Dataset(
        np.asarray(arrays[inputs], dtype=np.float64), np.asarray(arrays[targets], dtype=np.float64)
    )


def _pick(names: Mapping[str, Any] | list[str], wanted: tuple[str, ...]) -> str | None:
    by_lower = {name.lower(): name for name in names}
    return next((by_lower[key] for key in wanted if key in by_lower), None)
