"""What containers read equals what the formats' own libraries read; what they write, those libraries load."""

import io
import pickletools
import subprocess
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from symdiag.errors import OutputError
from symdiag.formats import dtypes, tree
from symdiag.formats.interface import RawCheckpoint
from symdiag.formats.reading import read_raw, write_raw

DATA = Path(__file__).parents[1] / "data" / "containers"
FLOATS = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
]
INTEGERS = [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]
UNSIGNED = [torch.uint16, torch.uint32, torch.uint64]


def _state(dtype_list: list[torch.dtype]) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    return {
        f"t{i}": (torch.randn(4, 3, generator=g) * 3).to(dtype)
        for i, dtype in enumerate(dtype_list)
    }


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    same = a.dtype == b.dtype and a.shape == b.shape
    return same and torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))


def _as_numpy(t: torch.Tensor) -> Any:
    return t.to(torch.float32).numpy() if str(t.dtype)[6:] in dtypes.FOREIGN_ITEMSIZE else t.numpy()


@pytest.mark.parametrize("container", ["torch-zip", "safetensors"])
def test_every_dtype_survives_reading_and_writing(container: str, tmp_path: Path):
    state = _state(FLOATS + INTEGERS + UNSIGNED)
    if container == "torch-zip":
        torch.save(state, tmp_path / "a")
    else:
        safetensors.torch.save_file(state, tmp_path / "a", metadata={"format": "pt"})
    raw = read_raw(tmp_path / "a")
    assert raw.container == container
    assert list(raw.foreign_dtypes.values()) == ["bfloat16", "float8_e4m3fn", "float8_e5m2"]
    for key, value in state.items():
        np.testing.assert_array_equal(raw.tree[key], _as_numpy(value))
        assert raw.tree[key].dtype == _as_numpy(value).dtype
    write_raw(raw, tmp_path / "b")
    if container == "torch-zip":
        back = torch.load(tmp_path / "b", weights_only=True)
    else:
        back = safetensors.torch.load_file(tmp_path / "b")
        assert read_raw(tmp_path / "b").metadata == {"format": "pt"}
    assert all(_same_bits(back[key], value) for key, value in state.items())
    assert back.keys() == state.keys()


@pytest.mark.parametrize("name", sorted(dtypes.FOREIGN_ITEMSIZE))
def test_foreign_dtypes_agree_with_torch(name: str):
    dtype = getattr(torch, name)
    width = dtypes.FOREIGN_ITEMSIZE[name]
    codes = np.arange(256**width).astype(f"<u{width}").tobytes()
    theirs = torch.frombuffer(bytearray(codes), dtype=dtype).to(torch.float32).numpy()
    np.testing.assert_array_equal(dtypes.decode(codes, name), theirs)
    rng = np.random.default_rng(2)
    finite = theirs[np.isfinite(theirs)]
    halfway = np.sort(finite)[:-1] / 2 + np.sort(finite)[1:] / 2
    spread = (rng.normal(size=20_000) * 10.0 ** rng.uniform(-6, 3, 20_000)).astype(np.float32)
    values = np.concatenate([finite, halfway, spread, np.float32([0.0, -0.0, np.inf, -np.inf])])
    expected = torch.from_numpy(values).to(dtype).view(torch.uint8).numpy().tobytes()
    assert dtypes.encode(values, name) == expected
    assert np.isnan(dtypes.decode(dtypes.encode(np.float32([np.nan]), name), name)).all()


def test_torch_tree_keeps_structure_strides_and_scalars(tmp_path: Path):
    base = torch.arange(12.0).reshape(3, 4)
    saved = {
        "state_dict": OrderedDict(
            a=base.t(), b=base[1:, ::2], p=torch.nn.Parameter(torch.ones(2)), s=torch.tensor(3)
        ),
        "optimizer": {
            "state": {0: {"step": 7}},
            "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999), "on": True}],
        },
        "none": None,
        "name": "run",
        "size": torch.Size([2, 3]),
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "empty": torch.empty(0, 5),
        "big": 1 << 40,
    }
    torch.save(saved, tmp_path / "m.pt")
    found = read_raw(tmp_path / "m.pt").tree
    np.testing.assert_array_equal(found["state_dict"]["a"], base.t().numpy())
    np.testing.assert_array_equal(found["state_dict"]["b"], base[1:, ::2].numpy())
    assert type(found["state_dict"]) is dict
    assert found["state_dict"]["s"].shape == ()
    assert found["optimizer"] == saved["optimizer"]
    assert found["empty"].shape == (0, 5)
    plain = {key: found[key] for key in ("none", "name", "size", "device", "dtype", "big")}
    assert plain == {
        "none": None, "name": "run", "size": (2, 3), "device": "cpu", "dtype": "torch.float16", "big": 1 << 40
    }  # fmt: skip


def test_tied_tensors_are_reported_and_cannot_be_changed_in_place(tmp_path: Path):
    flat = torch.arange(10.0)
    torch.save(
        {"a": flat[:4], "b": flat[4:], "c": flat[2:6], "again": flat[:4], "own": torch.ones(4)},
        tmp_path / "m",
    )
    raw = read_raw(tmp_path / "m")
    assert [sorted(group) for group in raw.tied] == [["a", "again", "b", "c"]]
    for array in raw.tree.values():  # views of the file's bytes: one write would change others
        with pytest.raises(ValueError, match="read-only"):
            array[:] = -1
    torch.save({"a": flat[:4], "b": flat[4:]}, tmp_path / "disjoint")
    assert read_raw(tmp_path / "disjoint").tied == ()


def test_blitz_samplers_are_tied_to_their_parameters():
    groups = {frozenset(group) for group in read_raw(DATA / "blitz-mlp1.pt").tied}
    assert frozenset({"blinear1.weight_mu", "blinear1.weight_sampler.mu"}) in groups
    assert len(groups) == 8


def _constraint_classes(monkeypatch: pytest.MonkeyPatch) -> dict[str, type]:
    """Classes of the names Pyro's file mentions, importable for as long as the test runs."""
    made = {}
    for module, name in (
        ("torch.distributions.constraints", "_Real"),
        ("pyro.distributions.constraints", "_SoftplusPositive"),
    ):
        made[name] = type(name, (), {"__module__": module})
        if module.startswith("pyro"):
            for part in ("pyro", "pyro.distributions", module):
                monkeypatch.setitem(sys.modules, part, types.ModuleType(part))
            monkeypatch.setattr(sys.modules[module], name, made[name], raising=False)
    return made


def test_pyro_store_keeps_constraint_names_and_is_written_back_as_pyro_wrote_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    raw = read_raw(DATA / "pyro-autonormal-mlp1.save")
    constraints = raw.tree["constraints"]
    assert constraints["AutoNormal.locs.net.fc1.weight"] == {
        "__class__": "torch.distributions.constraints._Real"
    }
    assert constraints["AutoNormal.scales.net.fc1.weight"] == {
        "__class__": "pyro.distributions.constraints._SoftplusPositive",
        "lower_bound": 0.0,
    }
    write_raw(raw, tmp_path / "b.save")
    again = read_raw(tmp_path / "b.save")
    assert again.tree["constraints"] == constraints
    for key, value in raw.tree["params"].items():
        np.testing.assert_array_equal(again.tree["params"][key], value)
    softplus = _constraint_classes(monkeypatch)["_SoftplusPositive"]
    loaded = torch.load(
        tmp_path / "b.save", weights_only=False
    )  # our own file, as Pyro itself loads it
    constraint = loaded["constraints"]["AutoNormal.scales.net.fc1.weight"]
    assert type(constraint) is softplus
    assert constraint.__dict__ == {"lower_bound": 0.0}
    real = loaded["constraints"]["AutoNormal.locs.net.fc1.weight"]
    assert type(real) is type(torch.distributions.constraints.real)


def test_written_pickle_names_no_class_of_ours(tmp_path: Path):
    write_raw(read_raw(DATA / "pyro-autonormal-mlp1.save"), tmp_path / "b.save")
    with zipfile.ZipFile(tmp_path / "b.save") as archive:
        program = archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))
    names = [arg for op, arg, _ in pickletools.genops(program) if op.name == "GLOBAL"]
    assert "pyro.distributions.constraints _SoftplusPositive" in names
    assert not [n for n in names if "symdiag" in n]


def _example(kind: str, path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    state = _state([torch.float32, torch.float16, torch.int64])
    if kind == "torch-zip":
        torch.save({"model": state}, path)
        return {f"model.{k}": (tuple(v.shape), str(v.dtype)[6:]) for k, v in state.items()}
    arrays = {k: v.numpy() for k, v in state.items()}
    if kind == "npz":
        np.savez_compressed(path.with_suffix(".npz"), **arrays)
        path.with_suffix(".npz").rename(path)
    else:
        safetensors.numpy.save_file(arrays, path)
    return {k: (v.shape, v.dtype.name) for k, v in arrays.items()}


@pytest.mark.parametrize("kind", ["torch-zip", "npz", "safetensors"])
def test_header_agrees_and_needs_no_torch(kind: str, tmp_path: Path):
    expected = _example(kind, tmp_path / "file")
    code = (
        "import sys; from symdiag.formats.reading import read_header; kind, entries, _ = read_header(sys.argv[1]); "
        "assert 'torch' not in sys.modules; print(kind, {e.key: (e.shape, e.dtype) for e in entries})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "file")],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split(maxsplit=1)[0] == kind
    assert eval(done.stdout.split(maxsplit=1)[1]) == expected


def test_safetensors_reads_what_the_library_writes_and_back(tmp_path: Path):
    rng = np.random.default_rng(3)
    arrays = {
        "a": rng.normal(size=(2, 3, 4)),
        "b": rng.normal(size=5).astype("f4"),
        "c": np.array(7),
        "d": np.ones(0),
    }
    safetensors.numpy.save_file(arrays, tmp_path / "a.safetensors")
    raw = read_raw(tmp_path / "a.safetensors")
    write_raw(raw, tmp_path / "b.safetensors")
    for path in ("a.safetensors", "b.safetensors"):
        theirs = safetensors.numpy.load_file(tmp_path / path)
        for key, value in arrays.items():
            np.testing.assert_array_equal(raw.tree[key], value)
            np.testing.assert_array_equal(theirs[key], value)
            assert theirs[key].shape == value.shape


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_reads_what_numpy_writes_and_back(save: Any, tmp_path: Path):
    rng = np.random.default_rng(4)
    arrays = {
        "w": rng.normal(size=(3, 4)),
        "fortran": np.asfortranarray(rng.normal(size=(3, 4))),
        "big_endian": rng.normal(size=3).astype(">f8"),
        "scalar": np.float32(2.5),
        "none": np.ones((0, 3)),
        "flags": np.array([True, False]),
    }
    save(tmp_path / "a.npz", **arrays, note=np.array("tanh"), names=np.array(["x", "ÿ"]))
    raw = read_raw(tmp_path / "a.npz")
    assert raw.tree["note"] == "tanh"
    assert raw.tree["names"] == ["x", "ÿ"]
    write_raw(raw, tmp_path / "b.npz")
    with np.load(tmp_path / "b.npz") as back:
        for key, value in arrays.items():
            np.testing.assert_array_equal(raw.tree[key], value)
            np.testing.assert_array_equal(back[key], value)
            assert raw.tree[key].dtype.isnative
        assert back["note"] == "tanh"
        assert back["names"].tolist() == ["x", "ÿ"]


def test_npz_keys_that_numpy_takes_for_arguments(tmp_path: Path):
    tree_ = {"file": np.ones(2), "allow_pickle": np.zeros(1)}
    write_raw(RawCheckpoint("x", "", "npz", tree_), tmp_path / "a.npz")
    assert read_raw(tmp_path / "a.npz").tree.keys() == tree_.keys()


def test_npz_and_torch_are_told_apart_by_content(tmp_path: Path):
    np.savez(tmp_path / "a.npz", w=np.ones(2))
    (tmp_path / "a.npz").rename(tmp_path / "a.pt")
    torch.save({"w": torch.ones(2)}, tmp_path / "b.npz")
    assert read_raw(tmp_path / "a.pt").container == "npz"
    assert read_raw(tmp_path / "b.npz").container == "torch-zip"


@pytest.mark.parametrize("container", ["npz", "safetensors"])
def test_what_a_container_cannot_hold_is_refused(container: str, tmp_path: Path):
    raw = RawCheckpoint("x", "", container, {"a": np.ones(2), "b": None})
    with pytest.raises(OutputError, match="b is a NoneType"):
        write_raw(raw, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_safetensors_has_no_complex(tmp_path: Path):
    with pytest.raises(OutputError, match="complex128"):
        write_raw(RawCheckpoint("x", "", "safetensors", {"a": np.ones(2) * 1j}), tmp_path / "out")


def test_large_archive_with_zip64_records(tmp_path: Path):
    """Python's zipfile forces zip64 fields when told to; numpy always tells it to."""
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w") as archive,
        archive.open("w.npy", "w", force_zip64=True) as member,
    ):
        out = io.BytesIO()
        np.save(out, np.arange(3))
        member.write(out.getvalue())
    np.testing.assert_array_equal(read_raw(tmp_path / "a.npz").tree["w"], [0, 1, 2])


def test_leaves_and_mapped_use_the_same_keys():
    nested = {"a": [1, {"b": 2}], "": (3,), 4: {}, "c": {}}
    keys = [key for key, _ in tree.leaves(nested)]
    assert keys == ["a.0", "a.1.b", ".0"]
    seen: list[str] = []
    assert tree.mapped(nested, lambda key, leaf: seen.append(key) or leaf * 2) == {
        "a": [2, {"b": 4}], "": (6,), 4: {}, "c": {}
    }  # fmt: skip
    assert seen == keys
