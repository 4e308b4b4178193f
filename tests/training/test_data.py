"""Data sets read back from every supported file kind, and refusals."""

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from symdiag.errors import InputError, UnreadableError, UsageError
from symdiag.training.data import Dataset, load_data

X = np.arange(12.0).reshape(4, 3)
Y = np.array([1.0, 0.0, 2.0, 1.0])


def write_npz(path):
    np.savez(path, X=X, y=Y)
    return path.with_name(path.name + ".npz")


def write_safetensors(path):
    save_file({"inputs": X.astype(np.float32), "targets": Y}, path)
    return path


def write_pt(path):
    torch.save({"X": torch.from_numpy(X), "Y": torch.from_numpy(Y).long()}, path)
    return path


def write_pt_pair(path):
    torch.save((torch.from_numpy(X), torch.from_numpy(Y)), path)
    return path


def write_csv(path):
    rows = ["a,b,y,c", *(f"{x[0]},{x[1]},{t},{x[2]}" for x, t in zip(X, Y, strict=True))]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "write", [write_npz, write_safetensors, write_pt, write_pt_pair, write_csv]
)
def test_round_trip_without_a_telling_extension(tmp_path, write):
    data = load_data(write(tmp_path / "data"))
    np.testing.assert_array_equal(data.inputs, X)
    np.testing.assert_array_equal(data.targets, Y)
    assert data.inputs.dtype == np.float64
    assert len(data) == 4


def test_parquet(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"a": X[:, 0], "t": Y})
    frame.to_parquet(tmp_path / "d")
    np.testing.assert_array_equal(load_data(tmp_path / "d", target="t").targets, Y)


def test_target_names_a_column(tmp_path):
    data = load_data(write_csv(tmp_path / "d.csv"), target="c")
    np.testing.assert_array_equal(data.targets, X[:, 2])
    np.testing.assert_array_equal(data.inputs, np.column_stack([X[:, :2], Y]))


def test_unknown_target_column_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no target column 'z'"):
        load_data(write_csv(tmp_path / "d.csv"), target="z")
    (tmp_path / "n.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(UsageError, match="which column"):
        load_data(tmp_path / "n.csv")


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04broken", b"\x00\x01\x02", b"PAR1", b"12345678{not json"]
)
def test_damaged_files_are_unreadable(tmp_path, content):
    path = tmp_path / "d"
    path.write_bytes(content)
    with pytest.raises((UnreadableError, UsageError)):
        load_data(path)


def test_missing_file_and_pickled_code(tmp_path):
    with pytest.raises(UnreadableError, match="cannot read"):
        load_data(tmp_path / "absent.npz")
    torch.save({"X": Dataset(X, Y)}, tmp_path / "code.pt")
    with pytest.raises(UnreadableError):
        load_data(tmp_path / "code.pt")


@pytest.mark.parametrize(
    "arrays",
    [
        {"X": X},
        {"X": X, "y": Y[:2]},
        {"X": X[:0], "y": Y[:0]},
        {"X": np.full((4, 3), np.nan), "y": Y},
        {"X": X, "y": np.full(4, np.inf)},
    ],
)
def test_bad_arrays_are_named(tmp_path, arrays):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(InputError) as caught:
        load_data(tmp_path / "d.npz")
    assert caught.value.code == "bad-data"
