"""Small valid checkpoints of every container and dialect at hand, and random ways to damage them."""

import io
import json
import pickle
import struct
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch

DATA = Path(__file__).parents[1] / "data" / "containers"
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)
WORDS = (2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
SNIPPETS = (
    b"PK\x03\x04",
    b"PK\x01\x02",
    b"PK\x05\x06",
    b"cos\nsystem\n",
    b"R",
    b"Q",
    b".",
    b"q\x00h\x00",
    b"\x81",
    b"\x93",
    b"\x94",
    b"2",
    b"0",
    b"b",
    b"ios\nsystem\n",
    b"\x82\x01",
    b"Pfile\n",
    b"}",
    b"]",
    b"(",
)
Rng = np.random.Generator


def seeds() -> dict[str, bytes]:
    """Name → bytes of a file that loads."""
    rng = np.random.default_rng(0)
    arrays = {
        f"fc{i}.{part}_{kind}": rng.normal(size=shape).astype("f4")
        for i, (rows, columns) in ((1, (3, 2)), (2, (1, 3)))
        for kind, shape in (("weight", (rows, columns)), ("bias", (rows,)))
        for part in ("mu", "rho")
    }
    tensors = {key: torch.from_numpy(value) for key, value in arrays.items()}
    nested = {
        "epoch": 3,
        "state_dict": {f"module.{key}": value.to(torch.bfloat16) for key, value in tensors.items()},
        "optimizer": {
            "state": {0: {"exp_avg": torch.ones(2, 2).t(), "step": 1.5}},
            "tags": ("a", None, True),
        },
    }
    return {
        "torch-flat": _saved(tensors),
        "torch-legacy": _saved(tensors, _use_new_zipfile_serialization=False),
        "module": _saved(_network()),
        "module-legacy": _saved(
            {"net": _network(), "epoch": 1}, _use_new_zipfile_serialization=False
        ),
        "optimizer": _saved(_optimizer()),
        "bare-tensors": pickle.dumps([{"loc": tensors, "scale": tensors}], protocol=4),
        "bare-arrays": pickle.dumps({**arrays, "size": np.float64(2.0), "of": {1, 2}}, protocol=2),
        "bare-module": pickle.dumps(_network(), protocol=4),
        "torch-nested": _saved(nested),
        "pyro": (DATA / "pyro-autonormal-mlp1.save").read_bytes(),
        "blitz": (DATA / "blitz-mlp1.pt").read_bytes(),
        "safetensors": safetensors.numpy.save(arrays, metadata={"format": "pt"}),
        "npz": _numpy_saved(np.savez, arrays),
        "npz-packed": _numpy_saved(np.savez_compressed, arrays),
    }


def _saved(obj: object, **options: bool) -> bytes:
    out = io.BytesIO()
    torch.save(obj, out, **options)
    return out.getvalue()


def _network() -> torch.nn.Module:
    """A whole module with buffers, a shared layer and constructor-like attributes."""
    shared = torch.nn.Linear(3, 3)
    net = torch.nn.Sequential(
        torch.nn.Linear(2, 3), torch.nn.ReLU(), shared, torch.nn.BatchNorm1d(3), shared
    )
    for parameter in net.parameters():
        torch.nn.init.constant_(parameter, 0.5)
    return net


def _optimizer() -> dict[str, object]:
    """A training script's whole objects: module, optimizer with state, counters."""
    net = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return {"net": net, "optimizer": optimizer, "seen": Counter(a=1), "path": Path("a/b")}


def _numpy_saved(save: Callable[..., None], arrays: dict[str, np.ndarray]) -> bytes:
    out = io.BytesIO()
    save(out, **arrays)
    return out.getvalue()


def _flip(data: bytearray, rng: Rng) -> bytearray:
    for _ in range(rng.integers(1, 8)):
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    return data


def _poke(data: bytearray, rng: Rng) -> bytearray:
    for _ in range(rng.integers(1, 5)):
        value = rng.choice(INTERESTING) if rng.random() < 0.5 else rng.integers(256)
        data[rng.integers(len(data))] = int(value)
    return data


def _word(data: bytearray, rng: Rng) -> bytearray:
    at = int(rng.integers(len(data)))
    width = int(rng.choice([2, 4, 8]))
    value = struct.pack("<Q", int(rng.choice(np.array(WORDS, dtype=np.uint64))))
    data[at : at + width] = value[:width]
    return data


def _cut(data: bytearray, rng: Rng) -> bytearray:
    return data[: rng.integers(len(data))]


def _delete(data: bytearray, rng: Rng) -> bytearray:
    at = int(rng.integers(len(data)))
    del data[at : at + int(rng.integers(1, 40))]
    return data


def _repeat(data: bytearray, rng: Rng) -> bytearray:
    at, to = (int(n) for n in rng.integers(len(data), size=2))
    data[to:to] = data[at : at + int(rng.integers(1, 60))]
    return data


def _insert(data: bytearray, rng: Rng) -> bytearray:
    at = int(rng.integers(len(data)))
    data[at:at] = SNIPPETS[rng.integers(len(SNIPPETS))]
    return data


BLIND = (_flip, _poke, _word, _cut, _delete, _repeat, _insert)


def _blind(data: bytes, rng: Rng) -> bytes:
    for _ in range(rng.integers(1, 4)):
        data = bytes(BLIND[rng.integers(len(BLIND))](bytearray(data), rng)) or b"\x00"
    return data


def _inside_zip(data: bytes, rng: Rng) -> bytes:
    """Damage one member and write the archive anew, so that checksums and directory agree with the damage."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info: archive.read(info) for info in archive.infolist()}
    names = list(members)
    pickled = [i for i, info in enumerate(names) if info.filename.endswith(".pkl")]
    victim = pickled[0] if pickled and rng.random() < 0.8 else int(rng.integers(len(names)))
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w") as archive:
        warnings.simplefilter("ignore")
        for i, (info, content) in enumerate(members.items()):
            name = info.filename
            if i == victim and rng.random() < 0.1:
                name = name.replace("data", "code", 1)
            packed = zipfile.ZipInfo(name)
            packed.compress_type = info.compress_type
            archive.writestr(packed, _blind(content, rng) if i == victim else content)
    return out.getvalue()


def _inside_header(data: bytes, rng: Rng) -> bytes:
    """Damage the JSON text of a safetensors header, or one of its values, keeping its length field honest."""
    length = struct.unpack("<Q", data[:8])[0]
    text, body = data[8 : 8 + length], data[8 + length :]
    if rng.random() < 0.5:
        text = _blind(text, rng)
    else:
        table = json.loads(text)
        entry = table[sorted(table)[rng.integers(len(table))]]
        key = sorted(entry)[rng.integers(len(entry))]
        values = ([], [-1], [2**70], [0, 2**62], None, "F8_E4M3", "C64", {}, 1.5, [[1]], [1] * 70)
        entry[key] = values[rng.integers(len(values))]
        text = json.dumps(table).encode()
    return struct.pack("<Q", len(text)) + text + body


def mutated(data: bytes, rng: Rng) -> bytes:
    """``data`` with random damage, half of it placed where outer checks do not see it."""
    if rng.random() < 0.5:
        return _blind(data, rng)
    if data[:2] == b"PK":
        return _inside_zip(data, rng)
    return _inside_header(data, rng) if data[8:9] == b"{" else _blind(data, rng)
