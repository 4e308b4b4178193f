"""Whole modules and files from before zip, their pickles rearranged: no exception, no side effect.

Half of the damage is done instruction by instruction, so that it stays a pickle and reaches deep; the
rest is that of ``mutations``. An audit hook must see no import, call, file or process meanwhile.
"""

import io
import pickle
import pickletools
import zipfile
from collections import Counter

import numpy as np
import pytest
from mutations import mutated, seeds

from symdiag.errors import SymdiagError
from symdiag.formats.containers import all_containers
from symdiag.formats.containers.torch._machine import run_bytes  # noqa: F401  # imported before the watch
from symdiag.formats.limits import DEFAULT
from symdiag.formats.tree import leaves
from tests.formats.audit_watch import Watched

WANTED = (
    "torch-legacy",
    "module",
    "module-legacy",
    "optimizer",
    "bare-tensors",
    "bare-arrays",
    "bare-module",
)
SEEDS = {name: data for name, data in seeds().items() if name in WANTED}
OPCODES = [op.code.encode("latin-1") for op in pickletools.opcodes]
CALLS = (
    b"cos\nsystem\n",
    b"X\x02\x00\x00\x00id\x85R",
    b"cbuiltins\neval\n",
    b"ctorch.nn.modules.linear\nLinear\n)\x81",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ccollections\nOrderedDict\n)R",
    b"}b",
    b"]",
    b"N",
    b"K\xff",
    b"J\xff\xff\xff\xff",
    b"G\x7f\xf0\x00\x00\x00\x00\x00\x00",
)
Rng = np.random.Generator


def _instructions(program: bytes) -> list[bytes]:
    """The first pickle of ``program``, cut into its instructions."""
    at = [position for _, _, position in pickletools.genops(program)]
    return [program[a:b] for a, b in zip(at, [*at[1:], at[-1] + 1], strict=True)]


def _rearranged(program: bytes, rng: Rng) -> bytes:
    """The pickle with a few instructions dropped, doubled, moved, retyped or put in."""
    steps = _instructions(program)
    for _ in range(rng.integers(1, 5)):
        i, j = (int(n) for n in rng.integers(len(steps), size=2))
        kind = rng.integers(6)
        if kind == 0 and len(steps) > 2:
            del steps[i]
        elif kind == 1:
            steps.insert(j, steps[i])
        elif kind == 2:
            steps[i], steps[j] = steps[j], steps[i]
        elif kind == 3:
            steps[i] = OPCODES[rng.integers(len(OPCODES))] + steps[i][1:]
        elif kind == 4:
            steps.insert(j, CALLS[rng.integers(len(CALLS))])
        else:
            steps[j:j] = steps[i : i + int(rng.integers(1, 20))]
    return b"".join(steps)


def _inside(data: bytes, rng: Rng) -> bytes:
    """``data`` with its object's pickle rearranged, in whatever container it is."""
    if data[:2] == b"PK":
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
            for info in old.infolist():
                content = old.read(info)
                changed = info.filename.endswith("data.pkl")
                new.writestr(info.filename, _rearranged(content, rng) if changed else content)
        return out.getvalue()
    start = 0
    for _ in range(3 if data[2:4] == b"\x8a\x0a" else 0):  # magic number, version, system
        start += len(b"".join(_instructions(data[start:])))
    size = len(b"".join(_instructions(data[start:])))
    return data[:start] + _rearranged(data[start : start + size], rng) + data[start + size :]


def _read(data: bytes) -> str:
    for container in all_containers():
        stream = io.BytesIO(data)
        try:
            if container.matches(stream, DEFAULT):
                container.header(stream, DEFAULT)
                list(leaves(container.read(stream, DEFAULT).tree))
                return "read"
        except SymdiagError as error:
            assert error.hint  # noqa: PT017
            assert "\n" not in error.message  # noqa: PT017
            return error.code
    return "unrecognised"


def _fuzz(count: int, seed: int) -> Counter[str]:
    rng = np.random.default_rng(seed)
    outcomes: Counter[str] = Counter()
    for name in SEEDS:
        assert _read(SEEDS[name]) == "read"
    for i in range(count):
        name = WANTED[i % len(WANTED)]
        damage = _inside if rng.random() < 0.5 else mutated
        data = damage(SEEDS[name], rng)
        with Watched() as events:
            outcomes[_read(data)] += 1
        assert not events, (seed, i, name, events)
    return outcomes


def test_rearranged_pickles_are_still_pickles_often_enough():
    """The damage would mean little if it only ever broke the syntax."""
    rng = np.random.default_rng(0)
    whole = 0
    for _ in range(200):
        program = _rearranged(SEEDS["bare-module"], rng)
        try:
            list(pickletools.genops(program))
            whole += 1
        except Exception:
            pass
    assert whole > 50
    assert pickle.loads(SEEDS["bare-arrays"])["size"] == 2.0


def test_some_hundred_pickles():
    assert len(_fuzz(500, 0)) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_twenty_thousand_pickles(seed: int):
    outcomes = _fuzz(5_000, seed)
    assert outcomes.total() == 5_000
    assert outcomes.keys() >= {"read", "corrupt", "unsafe-checkpoint", "unsupported"}
