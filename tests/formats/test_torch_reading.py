"""What the torch containers read equals what torch.load and pickle.load give, bit for bit."""

import io
import json
import pickle
import subprocess
import sys
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from symdiag.errors import InputError
from symdiag.formats import dtypes
from symdiag.formats.reading import read_header, read_raw, write_raw

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
]  # fmt: skip
UNSIGNED = [torch.uint16, torch.uint32, torch.uint64]
WAYS = ("zip", "legacy", "bare", "zip protocol 4")


def _save(obj: Any, path: Path, way: str) -> None:
    if way == "bare":
        path.write_bytes(pickle.dumps(obj, protocol=4))
    elif way == "zip protocol 4":
        torch.save(obj, path, pickle_protocol=4)
    else:
        torch.save(obj, path, _use_new_zipfile_serialization=way == "zip")


def _tensors() -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(3)
    flat = torch.randn(60, generator=g)
    found = {str(d): (torch.randn(4, 3, generator=g) * 3).to(d) for d in DTYPES}
    odd = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45])
    return found | {
        "transposed": flat[:12].reshape(3, 4).t(),
        "every other": flat[10:50].reshape(4, 10)[1:, ::3],
        "expanded": flat[:3].expand(2, 3),
        "shares": flat[5:9],
        "parameter": torch.nn.Parameter(flat[:6].reshape(2, 3).clone()),
        "scalar": torch.tensor(3),
        "empty": torch.empty(0, 5),
        "odd": odd,
    }


def _bits(value: np.ndarray) -> bytes:
    return np.ascontiguousarray(value).tobytes()


def _as_numpy(value: torch.Tensor) -> np.ndarray:
    value = value.detach()
    return (value.float() if str(value.dtype)[6:] in dtypes.FOREIGN_ITEMSIZE else value).numpy()


@pytest.mark.parametrize("way", WAYS)
def test_tensors_are_bit_for_bit_those_of_torch(way: str, tmp_path: Path):
    given = _tensors()
    if way.startswith("zip"):
        given |= {str(d): torch.tensor([0, 1, 2**16 - 1]).to(d) for d in UNSIGNED}
    _save(given, tmp_path / "m", way)
    raw = read_raw(tmp_path / "m")
    assert list(raw.tree) == list(given)
    for key, value in given.items():
        expected = _as_numpy(value)
        assert (raw.tree[key].dtype, raw.tree[key].shape) == (expected.dtype, expected.shape), key
        assert _bits(raw.tree[key]) == _bits(expected), key
    shared = [set(group) for group in raw.tied]
    if way != "bare":  # each tensor of a bare pickle carries its storage, once per storage object
        assert {"transposed", "expanded", "shares"} in shared
    _, entries, _ = read_header(tmp_path / "m")
    assert {e.key: e.shape for e in entries} == {k: tuple(v.shape) for k, v in given.items()}


@pytest.mark.parametrize("way", WAYS[:3])
def test_what_is_written_torch_loads(way: str, tmp_path: Path):
    state = _tensors()
    if way != "zip":  # torch writes float8 in the older form, but cannot load it
        state = {key: value for key, value in state.items() if "float8" not in key}
    given = {"state": state, "epoch": 3, "names": ["a", None]}
    _save(given, tmp_path / "a", way)
    write_raw(read_raw(tmp_path / "a"), tmp_path / "b")
    back = (tmp_path / "b").read_bytes()
    found = pickle.loads(back) if way == "bare" else torch.load(io.BytesIO(back), weights_only=True)
    assert (found["epoch"], found["names"]) == (3, ["a", None])
    for key, value in given["state"].items():
        same = found["state"][key]
        assert same.dtype == value.dtype
        assert _bits(_as_numpy(same)) == _bits(_as_numpy(value)), key
    assert read_raw(tmp_path / "b").container == read_raw(tmp_path / "a").container


@pytest.mark.parametrize("protocol", range(6))
def test_numpy_arrays_are_those_of_pickle(protocol: int, tmp_path: Path):
    rng = np.random.default_rng(0)
    given = {
        "w": rng.normal(size=(3, 4)),
        "f": np.asfortranarray(rng.normal(size=(3, 4)).astype("f4")),
        "big": rng.normal(size=3).astype(">f8"),
        "half": np.float16([1.5, np.nan]),
        "flags": np.array([[True], [False]]),
        "ints": np.arange(3, dtype="i2"),
        "none": np.ones((0, 3)),
        "zero": np.array(2.5),
    }
    extra = {
        "scalar": np.float64(0.1),
        "text": np.array(["a", "é"]),
        "mixed": np.array([1, "x"], object),
    }
    (tmp_path / "m").write_bytes(pickle.dumps({**given, **extra}, protocol=protocol))
    raw = read_raw(tmp_path / "m")
    assert raw.container == "pickle"
    for key, value in given.items():
        assert _bits(raw.tree[key]) == _bits(value.astype(value.dtype.newbyteorder("="))), key
        assert raw.tree[key].shape == value.shape
    assert {key: raw.tree[key] for key in extra} == {
        "scalar": 0.1,
        "text": ["a", "é"],
        "mixed": [1, "x"],
    }
    write_raw(raw, tmp_path / "b")
    back = pickle.loads((tmp_path / "b").read_bytes())
    assert all(isinstance(back[key], np.ndarray) for key in given)
    np.testing.assert_array_equal(back["w"], given["w"])


class _Odd(torch.nn.Module):
    """A hand-written module with everything a module can have."""

    def __init__(self) -> None:
        super().__init__()
        self.width, self.name, self.sizes = 3, "odd", (1, [2, 3])
        self.activate = torch.relu
        self.first = torch.nn.Linear(2, 3)
        self.body = torch.nn.Sequential(
            OrderedDict(norm=torch.nn.BatchNorm1d(3), act=torch.nn.Tanh())
        )
        self.again = self.first
        self.empty = None
        self.register_parameter("nothing", None)
        self.register_buffer("kept", torch.ones(2))
        self.register_buffer("passing", torch.ones(2), persistent=False)
        self.owner = [self]  # a circle


@pytest.mark.parametrize("way", WAYS)
def test_whole_module_gives_its_state_dict(way: str, tmp_path: Path):
    module = _Odd()
    _save(module, tmp_path / "m", way)
    raw = read_raw(tmp_path / "m")
    state = module.state_dict()
    assert list(raw.tree) == list(state)
    for key, value in state.items():
        assert _bits(raw.tree[key]) == _bits(value.numpy())
    module.load_state_dict({key: torch.from_numpy(value.copy()) for key, value in raw.tree.items()})
    described = raw.modules[""]
    assert described.class_name == f"{__name__}._Odd"
    assert list(described.children) == ["first", "body", "again"]
    assert described.children["again"] is described.children["first"]
    assert described.children["first"].parameters == {"weight": (3, 2), "bias": (3,)}
    assert described.children["first"].attributes["in_features"] == 2
    assert set(described.buffers) == {"kept", "passing"}
    plain = {key: described.attributes[key] for key in ("width", "name", "sizes", "owner")}
    assert plain == {
        "width": 3,
        "name": "odd",
        "sizes": (1, [2, 3]),
        "owner": [{"__class__": f"{__name__}._Odd"}],
    }
    assert "relu" in described.attributes["activate"]
    names = [(name, child.class_words) for name, child in described.walk()]
    assert names[2:5] == [
        ("body", "Sequential"),
        ("body.norm", "BatchNorm1d"),
        ("body.act", "Tanh"),
    ]


@pytest.mark.parametrize("way", WAYS)
def test_optimizer_gives_its_state_dict(way: str, tmp_path: Path):
    net = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam([{"params": [net.weight]}, {"params": [net.bias], "lr": 0.5}])
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    _save(
        {"net": net, "optimizer": optimizer, "seen": Counter(a=2), "home": Path("a")},
        tmp_path / "m",
        way,
    )
    raw = read_raw(tmp_path / "m")
    expected = optimizer.state_dict()
    found = raw.tree["optimizer"]
    assert [group["params"] for group in found["param_groups"]] == [[0], [1]]
    assert found["param_groups"][1]["lr"] == 0.5
    for number, state in expected["state"].items():
        for key, value in state.items():
            np.testing.assert_array_equal(found["state"][number][key], value.numpy())
    assert raw.tree["seen"] == {"a": 2}
    assert raw.tree["home"] == {"__class__": "pathlib.PosixPath", "args": ("a",)}
    assert list(raw.tree["net"]) == ["weight", "bias"]
    assert list(raw.modules) == ["net"]


def test_objects_we_cannot_read_do_not_stand_in_the_way(tmp_path: Path):
    from argparse import Namespace

    eye = torch.eye(2)
    odd = Namespace(
        sparse=eye.to_sparse(), phase=torch.ones(2, dtype=torch.complex64), s=slice(1, 2)
    )
    odd.me = odd
    torch.save({"w": torch.ones(2), "odd": odd}, tmp_path / "m")
    found = read_raw(tmp_path / "m").tree["odd"]
    assert found["__class__"] == "argparse.Namespace"
    assert found["sparse"] == {"__class__": "torch.Tensor", "kind": "is sparse"}
    np.testing.assert_array_equal(found["phase"], [1, 1])
    assert found["s"] == {"__class__": "builtins.slice", "args": (1, 2, None)}
    assert found["me"] == {"__class__": "argparse.Namespace"}


def test_reading_imports_no_torch(tmp_path: Path):
    net = torch.nn.Sequential(torch.nn.Linear(2, 1))
    for way in WAYS:
        _save({"net": net, "w": torch.ones(2, dtype=torch.bfloat16)}, tmp_path / way, way)
    code = (
        "import sys; from symdiag.formats.reading import read_raw\n"
        "for path in sys.argv[1:]: assert list(read_raw(path).tree['net']) == ['0.weight', '0.bias']\n"
        "assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", code, *(str(tmp_path / way) for way in WAYS)]
    subprocess.run(command, check=True)


def test_shapes_of_a_flat_guide_come_with_it(tmp_path: Path):
    guide = torch.nn.Module()
    guide.register_parameter("loc", torch.nn.Parameter(torch.zeros(3)))
    guide._unconstrained_shapes = {"w": torch.Size([2, 1]), "b": torch.Size([])}
    torch.save(guide, tmp_path / "m")
    raw = read_raw(tmp_path / "m")
    assert json.loads(raw.metadata["symdiag.model_shapes"]) == {"w": [2, 1], "b": []}


def _legacy(**changes: bytes) -> bytes:
    out = io.BytesIO()
    torch.save(
        {"w": torch.arange(3.0), "v": torch.ones(2)}, out, _use_new_zipfile_serialization=False
    )
    return out.getvalue()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: data + b"x", "corrupt"),
        (lambda data: data[:-1], "truncated"),
        (lambda data: data[:60], "corrupt"),
        (lambda data: data.replace(b"M\xe9\x03", b"M\xea\x03"), "corrupt"),
        (lambda data: data[:-8] + data[-16:], "corrupt"),
    ],
)
def test_legacy_file_must_fit_to_the_byte(change: Any, code: str, tmp_path: Path):
    (tmp_path / "m").write_bytes(change(_legacy()))
    for reader in (read_raw, read_header):
        with pytest.raises(InputError) as caught:
            reader(tmp_path / "m")
        assert caught.value.code == code


@pytest.mark.parametrize("module", [b"torch", b"torch.cuda"])
def test_views_of_one_storage_in_a_legacy_file(module: bytes, tmp_path: Path):
    """Early torch wrote storages that are views of others; the id then holds key, offset and size."""
    from hostile_files import legacy_with_pickle

    def pid(view: bytes) -> bytes:
        return b"(U\x07storagec" + module + b"\nFloatStorage\nU\x01rU\x03cpuK\x06" + view + b"tQ"

    def tensor(view: bytes) -> bytes:
        return b"ctorch._utils\n_rebuild_tensor\n(" + pid(view) + b"K\x01K\x02\x85K\x01\x85tR"

    view = b"(U\x01vK\x02K\x03t"
    program = b"\x80\x02}(U\x01a" + tensor(b"N") + b"U\x01b" + tensor(view) + b"u."
    numbers = np.arange(6, dtype="<f4")
    data = legacy_with_pickle(program, ("r",), np.int64(6).tobytes() + numbers.tobytes())
    (tmp_path / "m").write_bytes(data)
    raw = read_raw(tmp_path / "m")
    np.testing.assert_array_equal(raw.tree["a"], [1, 2])
    np.testing.assert_array_equal(raw.tree["b"], [3, 4])
    too_long = data.replace(view, b"(U\x01vK\x05K\x03t")
    (tmp_path / "n").write_bytes(too_long)
    with pytest.raises(InputError) as caught:
        read_raw(tmp_path / "n")
    assert caught.value.code == "corrupt"


def test_archive_of_a_big_endian_machine(tmp_path: Path):
    from hostile_files import torch_entries, zip_bytes

    state = {"w": torch.arange(3.0), "h": torch.tensor([1.5, -2.0], dtype=torch.bfloat16)}
    entries = torch_entries(state)
    for entry, width in zip([e for e in entries if "/data/" in e.name], (4, 2), strict=True):
        entry.data = np.frombuffer(entry.data, f"<u{width}").astype(f">u{width}").tobytes()
    next(e for e in entries if e.name.endswith("byteorder")).data = b"big"
    (tmp_path / "m").write_bytes(zip_bytes(entries))
    raw = read_raw(tmp_path / "m")
    np.testing.assert_array_equal(raw.tree["w"], [0, 1, 2])
    np.testing.assert_array_equal(raw.tree["h"], [1.5, -2.0])
    assert raw.tree["w"].dtype.isnative


def test_state_of_posteriors_as_a_named_tuple(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from collections import namedtuple
    from types import ModuleType

    state = namedtuple(
        "VIDiagState", ["params", "log_sd_diag", "nelbo"], module="posteriors.vi.diag"
    )
    module = ModuleType("posteriors.vi.diag")
    module.VIDiagState = state
    for name in ("posteriors", "posteriors.vi", "posteriors.vi.diag"):
        monkeypatch.setitem(sys.modules, name, module)
    weights = {"0.weight": torch.ones(2, 1)}
    torch.save(state(weights, weights, torch.tensor(0.5)), tmp_path / "m")
    tree = read_raw(tmp_path / "m").tree
    assert list(tree) == ["params", "log_sd_diag"]
    np.testing.assert_array_equal(tree["log_sd_diag"]["0.weight"], [[1], [1]])


def test_array_whose_text_is_no_bytes(tmp_path: Path):
    array = b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
    dtype = b"cnumpy\ndtype\n(U\x02i1\x89\x88tR"
    program = b"\x80\x03" + array + b"(K\x01K\x01\x85" + dtype + b"\x89X\x03\0\0\0\xe2\x82\xactb."
    (tmp_path / "m").write_bytes(program)
    with pytest.raises(InputError) as caught:
        read_raw(tmp_path / "m")
    assert caught.value.code == "corrupt"
