"""The interpreter of pickles imports nothing, calls nothing, and agrees with Python on what data is."""

import io
import pickle
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_files import good_state, legacy_with_pickle, torch_with_pickle
from hostile_pickles import programs

from symdiag.errors import InputError, LimitError, SymdiagError
from symdiag.formats.containers import all_containers
from symdiag.formats.containers.torch._machine import Machine, run_bytes
from symdiag.formats.containers.torch._values import Global, Record, Tensor
from symdiag.formats.limits import DEFAULT, Limits
from symdiag.formats.reading import read_raw
from tests.formats.audit_watch import Watched

TORCH_TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"


@pytest.fixture(scope="module", autouse=True)
def everything_imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Read one of each first, so that our own lazy imports are done."""
    import torch

    path = tmp_path_factory.mktemp("warm") / "m"
    for zipped in (True, False):
        torch.save(good_state(), path, _use_new_zipfile_serialization=zipped)
        read_raw(path)
    path.write_bytes(pickle.dumps({"w": np.ones(2), "u": "é"}, protocol=0))
    read_raw(path)


def _read(data: bytes) -> str:
    """What becomes of a file, read from memory by whichever container recognises it."""
    for container in all_containers():
        for act in (container.header, container.read):
            stream = io.BytesIO(data)
            try:
                if container.matches(stream, DEFAULT):
                    act(stream, DEFAULT)
            except SymdiagError as error:
                return error.code
    return "read"


def _dressed(program: bytes) -> Iterator[bytes]:
    """A program as a bare pickle, in a torch zip, and in the container before zip."""
    yield program
    yield torch_with_pickle(program)
    yield legacy_with_pickle(program)


def test_no_pickle_does_anything(tmp_path: Path):
    canary = tmp_path / "canary"
    outcomes: Counter[str] = Counter()
    for label, program in programs(canary).items():
        for data in _dressed(program):
            with Watched() as events:
                outcomes[_read(data)] += 1
            assert not events, (label, events)
    assert not canary.exists()
    assert outcomes["unsafe-checkpoint"] > 500
    assert outcomes.keys() <= {
        "unsafe-checkpoint",
        "unsupported",
        "corrupt",
        "read",
        "ambiguous-archive",
        "unsupported-dtype",
    }


def test_the_canary_sings(tmp_path: Path):
    """The same programs do act when Python unpickles them, and the watch notices."""
    canary = tmp_path / "canary"
    found = programs(canary)
    for label in ("eval", "INST", "STACK_GLOBAL", "OBJ", "nested pickle", "map", "partial"):
        with Watched() as events:
            try:
                made = pickle.loads(found[f"{label}, protocol 4"])
                if label == "map":
                    list(made)
                elif label == "eval":
                    made.close()
            except Exception:  # some act and then fail
                pass
        assert events, label
    assert canary.exists()


def _run(program: bytes, limits: Limits = DEFAULT) -> Any:
    return run_bytes(Machine(limits), program)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_are_those_of_python(protocol: int):
    value = {
        "a": [1, -2, 2**40, -(2**70), 1.5, float("inf"), True, False, None],
        "b": ("x", "é\U0001f600", "", ("t",), ()),
        3: {"c": []},
        (1, "k"): 1 + 2j,
        "o": OrderedDict(a=1, b=2),
        "n": Counter("aab"),
        "d": defaultdict(list, x=[1]),
        "bytes": b"\x00\xff",
        None: 0.1,
    }
    value["again"] = value["a"]
    found = _run(pickle.dumps(value, protocol=protocol))
    assert found == value
    assert found["again"] is found["a"]


@pytest.mark.parametrize("protocol", range(6))
def test_unknown_objects_become_records(protocol: int):
    from argparse import Namespace
    from decimal import Decimal

    found = _run(pickle.dumps([Namespace(lr=0.1, name="x"), Decimal("1.5"), {1, 2}], protocol))
    assert [type(item) for item in found] == [Record] * 3
    assert (found[0].name, found[0].state) == ("argparse.Namespace", {"lr": 0.1, "name": "x"})
    assert (found[1].name, found[1].args) == ("decimal.Decimal", ("1.5",))
    assert sorted([*found[2].items, *found[2].args]) == [1, 2]


@pytest.mark.parametrize(
    ("program", "code", "says"),
    [
        (b"\x80\x06}.", "unsupported", "protocol 6"),
        (b"\x80\x02(i.", "corrupt", ""),
        (b"\x80\x02cos\nsystem\n)\x81.", "unsafe-checkpoint", "calls os.system"),
        (b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.", "unsafe-checkpoint", "calls os.system"),
        (b"\x80\x02K\x01)\x81.", "corrupt", "TypeError"),
        (b"\x80\x02]}b.", "unsafe-checkpoint", "sets the state"),
        (b"\x80\x02ca\nb\n}b.", "unsafe-checkpoint", "sets the state"),
        (b"\x80\x02}K\x01R.", "corrupt", "TypeError"),
        (b"\x80\x02K\x01)R.", "corrupt", "TypeError"),
        (b"\x80\x02K\x01\x87.", "corrupt", "ValueError"),
        (b"\x80\x02K\x01Q.", "unsupported", "outside itself"),
        (b"\x80\x02" + TORCH_TENSOR + b"(K\x00K\x00))tR.", "corrupt", "TypeError"),
        (b"\x80\x02ctorch\nSize\nK\x01\x85R.", "corrupt", "TypeError"),
        (b"\x80\x02h\x07.", "corrupt", "KeyError"),
        (b"\x80\x02t.", "corrupt", "IndexError"),
        (b"\x80\x02]", "corrupt", ""),
        (b"\x80\x02}.x", "ambiguous-archive", "1 bytes follow"),
        (b"\x82\x01.", "unsupported", "EXT1"),
        (b"\x97.", "unsupported", "NEXT_BUFFER"),
        (b"\x8b\x00\x01\x00\x00" + bytes(255) + b"\x01.", "limit-exceeded", "integer of 2041 bits"),
        (b"\x80\x02}X\x88\x13\x00\x00" + b"k" * 5000 + b"K\x01s.", "limit-exceeded", "5000 characters"),
        (b"\x80\x02})(K\x01K\x02K\x03t\x86K\x01s.", "corrupt", "TypeError"),
    ],
)  # fmt: skip
def test_programs_that_are_refused(program: bytes, code: str, says: str):
    with pytest.raises(InputError) as caught:
        _run(program)
    assert caught.value.code == code
    assert says in caught.value.message
    assert caught.value.hint


def test_work_of_calls_is_charged():
    """Few instructions cannot cost much: copies, shapes and nested files count as their length."""
    big = b"](" + b"]" * 2000 + b"e"
    copies = (
        b"ccollections\nOrderedDict\nq\x01("
        + b"h\x01]("
        + b"K\x01K\x02\x86" * 1000
        + b"eq\x02\x85R"
    )
    for program in (
        b"(" + copies + b"h\x01h\x02\x85R" * 100 + b"t.",
        b"(ctorch\nSize\nq\x01" + big + b"q\x02\x85R" + b"h\x01h\x02\x85R" * 100 + b"t.",
    ):
        with pytest.raises((LimitError, InputError)) as caught:
            _run(program, Limits(max_pickle_ops=10_000))
        assert caught.value.code == "limit-exceeded"


def test_tensors_are_described():
    import torch

    out = io.BytesIO()
    base = torch.arange(12.0).reshape(3, 4)
    torch.save({"a": base[1:, ::2]}, out, _use_new_zipfile_serialization=False)
    out.seek(0)
    from symdiag.formats.containers.torch import legacy

    (entry,), _ = legacy.header(out, DEFAULT)
    assert (entry.key, entry.shape, entry.dtype) == ("a", (2, 2), "float32")
    assert Tensor("float32", (2, 0), (1, 1)).span == 0
    assert Tensor("float32", (2, 2), (4, 2)).span == 7


def test_constants_stay_names():
    import torch

    given = [
        torch.float16,
        torch.device("cuda:1"),
        torch.device("cpu"),
        torch.Size([2]),
        OrderedDict,
    ]
    names = Global("torch.float16"), Global("collections.OrderedDict")
    assert _run(pickle.dumps(given)) == [names[0], "cuda:1", "cpu", (2,), names[1]]


def _modules_sharing(entries: dict[str, None]) -> Any:
    """Three hundred modules whose parameters are one dict: little to store, much to look through."""
    import torch

    found = [torch.nn.Module() for _ in range(300)]
    for module in found:
        module.__dict__["_parameters"] = entries
    return found


def _modules_doubling(levels: int) -> Any:
    """Each module has the one below as both of its children: 2**levels visits, no tensor at all."""
    import torch

    module = torch.nn.Module()
    for _ in range(levels):
        above = torch.nn.Module()
        above.a = above.b = module
        module = above
    return module


def _nested_modules(levels: int) -> Any:
    import torch

    module = torch.nn.Module()
    for _ in range(levels):
        module = torch.nn.Sequential(module)
    return module


BOMBS = {
    "dict of nothing in many modules": lambda: pickle.dumps(
        _modules_sharing(dict.fromkeys(map(str, range(30_000))))
    ),
    "doubling modules": lambda: pickle.dumps(_modules_doubling(60)),
    "modules in modules": lambda: pickle.dumps(_nested_modules(100)),
    "long names joined": lambda: b"\x80\x04(X\xb8\x0b\x00\x00" + b"m" * 3000 + b"\x94X\xb8\x0b\x00\x00"
    + b"n" * 3000 + b"\x94" + b"h\x00h\x01\x93" * 1000 + b"t.",
    "long key everywhere": lambda: pickle.dumps([{"k" * 4000: 1}] * 100_000),
    "doubling dicts": lambda: _doubled("{}", 60),
    "doubling objects": lambda: _doubled("ca\nb\n)\x81}", 60),
}  # fmt: skip


def _doubled(kind: str, levels: int) -> bytes:
    """Containers that hold the one before twice; objects are told once, and so end."""
    end = b"b" if kind.startswith("c") else b""
    start = kind.removesuffix("}").encode("latin-1") if end else b""
    program = b"\x80\x04}\x94"
    for level in range(levels):
        program += (
            start
            + b"}(U\x01ah"
            + bytes([level])
            + b"U\x01bh"
            + bytes([level])
            + b"u"
            + end
            + b"\x94"
        )
    return program + b"."


@pytest.mark.parametrize("label", BOMBS)
def test_small_files_that_unfold_without_end(label: str, tmp_path: Path):
    path = tmp_path / "m"
    for data in _dressed(BOMBS[label]()):
        path.write_bytes(data)
        if label == "doubling objects":
            read_raw(path)
            continue
        with pytest.raises(LimitError):
            read_raw(path)


def test_arrays_of_no_bytes_are_not_allocated(tmp_path: Path):
    array = b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
    dtype = b"cnumpy\ndtype\n(U\x02U0\x89\x88tR"
    huge = b"\x8a\x06" + (1 << 40).to_bytes(6, "little")
    (tmp_path / "m").write_bytes(
        b"\x80\x03" + array + b"(K\x01" + huge + b"\x85" + dtype + b"\x89C\x00tb."
    )
    with pytest.raises(InputError) as caught:
        read_raw(tmp_path / "m")
    assert caught.value.code == "unsupported-dtype"


def test_the_stride_of_an_axis_of_one_may_be_any_number(tmp_path: Path):
    from hostile_files import _rebuild

    program = _rebuild(3, 0, (1, 3), (1 << 70, 1))
    (tmp_path / "m").write_bytes(torch_with_pickle(program, s0=np.arange(3, dtype="<f4").tobytes()))
    np.testing.assert_array_equal(read_raw(tmp_path / "m").tree["w"], [[0, 1, 2]])
