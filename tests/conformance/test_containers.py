"""The suite every container passes; a new one is found by listing and needs no line here."""

import copy
import io
import random
import subprocess
import sys

import numpy as np
import pytest

from symdiag.errors import InputError, LimitError, OutputError
from symdiag.formats import dtypes
from symdiag.formats.containers import all_containers
from symdiag.formats.interface import RawCheckpoint
from symdiag.formats.limits import DEFAULT, Limits
from symdiag.formats.reading import read_header, read_raw, write_raw

CONTAINERS = {container.name: container for container in all_containers()}
SHAPES = [(), (1,), (0,), (5,), (2, 3), (0, 4), (2, 1, 3, 2)]
REFUSALS = {
    "truncated",
    "corrupt",
    "malformed-header",
    "ambiguous-archive",
    "limit-exceeded",
    "unrecognised",
    "unsafe-checkpoint",
    "unsupported",
    "unsupported-dtype",
    "unsupported-tensor",
    "empty-file",
}
"""What damage may be called. docs/security.md lists the codes."""


@pytest.fixture(params=sorted(CONTAINERS))
def container(request):
    return CONTAINERS[request.param]


def raw_of(container, tree, foreign=None):
    return RawCheckpoint("x", "0" * 64, container.name, tree, foreign_dtypes=foreign or {})


def numbers(dtype, shape, seed=0):
    """Arrays of ``dtype`` with values that differ, signs and the ends of its range among them."""
    rng = np.random.default_rng(seed)
    if dtype in dtypes.FOREIGN_ITEMSIZE:  # exactly what the foreign dtype can hold
        stored = rng.integers(0, 120, (*shape, dtypes.itemsize(dtype)), dtype=np.uint8)
        return dtypes.decode(stored.tobytes(), dtype).reshape(shape)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    return np.asarray(rng.normal(size=shape) * 3, dtype)


@pytest.fixture
def example(container):
    """A small file of the format: three tensors, of which one is large enough to be damaged."""
    tree = {"a.weight": numbers("float32", (4, 6)), "a.bias": numbers("float64", (4,), 1)}
    return container.encode(raw_of(container, {**tree, "steps": numbers("int64", (), 2)}))


def read(container, data, limits=DEFAULT):
    stream = io.BytesIO(data)
    assert container.matches(stream, limits)
    return container.read(stream, limits)


@pytest.mark.parametrize("dtype", sorted(dtypes.NATIVE))
def test_arrays_of_every_dtype_and_shape_come_back_to_the_bit(container, dtype):
    tree = {f"t{i}": numbers(dtype, shape, i) for i, shape in enumerate(SHAPES)}
    back = read(container, container.encode(raw_of(container, copy.deepcopy(tree))))
    assert set(back.tree) == set(tree)
    assert not back.foreign_dtypes
    for key, values in tree.items():
        assert back.tree[key].dtype == values.dtype
        assert back.tree[key].shape == values.shape
        assert back.tree[key].tobytes() == values.tobytes()


@pytest.mark.parametrize("dtype", sorted(dtypes.FOREIGN_ITEMSIZE))
def test_dtypes_numpy_lacks_come_back_or_are_refused(container, dtype):
    tree = {f"t{i}": numbers(dtype, shape, i) for i, shape in enumerate(SHAPES)}
    foreign = dict.fromkeys(tree, dtype)
    try:
        data = container.encode(raw_of(container, tree, foreign))
    except OutputError as error:
        refusal = error.message
    else:
        refusal = ""
    if refusal:
        assert dtype in refusal
        return
    back = read(container, data)
    assert dict(back.foreign_dtypes) == foreign
    for key, values in tree.items():
        assert back.tree[key].dtype == np.float32
        np.testing.assert_array_equal(back.tree[key], values)


def test_other_layouts_in_memory_are_written_as_their_values(container):
    values = np.arange(24.0).reshape(4, 6)
    tree = {
        "transposed": values.T,
        "strided": values[::2, ::3],
        "fortran": np.asfortranarray(values),
    }
    back = read(container, container.encode(raw_of(container, tree))).tree
    for key, expected in tree.items():
        assert back[key].dtype == np.float64
        np.testing.assert_array_equal(back[key], expected)


def test_the_header_declares_what_reading_finds(container, example):
    entries, _ = container.header(io.BytesIO(example), DEFAULT)
    declared = {entry.key: (entry.shape, entry.dtype) for entry in entries}
    found = read(container, example).tree
    assert declared == {key: (v.shape, v.dtype.name) for key, v in found.items()}


def test_the_header_is_read_without_torch_and_scipy(container, example, tmp_path):
    (tmp_path / "m.bin").write_bytes(example)
    code = (
        "import sys; from symdiag.formats.reading import read_header; read_header(sys.argv[1]); "
        "print([m for m in ('torch', 'scipy', 'numba') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "m.bin")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_content_decides_whatever_the_extension(container, example, tmp_path):
    for suffix in (".pt", ".npz", ".safetensors", ".pkl", ""):
        path = tmp_path / f"m{suffix}"
        path.write_bytes(example)
        assert read_raw(path).container == read_header(path)[0] == container.name


def test_one_container_only_claims_a_file(container, example):
    claims = [name for name, c in CONTAINERS.items() if c.matches(io.BytesIO(example), DEFAULT)]
    assert claims == [container.name]


def test_writing_leaves_the_checkpoint_alone_and_is_atomic(container, tmp_path):
    tree = {"w": numbers("float32", (2, 3))}
    raw = raw_of(container, copy.deepcopy(tree))
    write_raw(raw, tmp_path / "m.bin")
    np.testing.assert_array_equal(raw.tree["w"], tree["w"])
    with pytest.raises(OutputError) as error:
        write_raw(raw, tmp_path / "m.bin")
    assert error.value.code == "exists"
    assert [path.name for path in tmp_path.iterdir()] == ["m.bin"]


def refusal_of(path):
    """The code that the file is refused with; None when it is read."""
    try:
        read_raw(path)
    except InputError as error:
        refusal = error
    else:
        return None
    assert refusal.message
    assert "\n" not in refusal.message
    assert refusal.hint
    return refusal.code


def test_a_truncated_file_is_refused_wherever_it_ends(container, example, tmp_path):
    path = tmp_path / "m.bin"
    cuts = {1, 4, 8, 9, len(example) - 1, *np.linspace(0, len(example) - 1, 60, dtype=int)}
    for length in sorted(cuts):
        path.write_bytes(example[:length])
        assert refusal_of(path) in REFUSALS, length


def test_bytes_around_the_file_are_refused(container, example, tmp_path):
    path = tmp_path / "m.bin"
    for data in (example + b"\0", example + example, b"\0" + example, example[:40] + example):
        path.write_bytes(data)
        assert refusal_of(path) in REFUSALS


def test_a_damaged_byte_is_refused_by_a_known_code_or_changes_a_value_only(
    container, example, tmp_path
):
    path, rng = tmp_path / "m.bin", random.Random(1)
    shapes = {key: np.shape(v) for key, v in read(container, example).tree.items()}
    for _ in range(150):
        at = rng.randrange(len(example))
        path.write_bytes(example[:at] + bytes([rng.randrange(256)]) + example[at + 1 :])
        code = refusal_of(path)
        assert code is None or code in REFUSALS
        if code is None:  # a name, a dtype of the same width or a number changed
            assert len(read_raw(path).tree) == len(shapes)


@pytest.mark.parametrize(
    "limits",
    [Limits(max_total_bytes=64), Limits(max_nodes=2, max_members=2)],
    ids=["bytes", "entries"],
)
def test_declared_sizes_are_bounded_before_anything_is_built(container, limits, tmp_path):
    tree = {f"w{i}": np.zeros((8, 8)) for i in range(4)}
    write_raw(raw_of(container, tree), tmp_path / "m.bin")
    with pytest.raises(LimitError):
        read_raw(tmp_path / "m.bin", limits=limits)


def test_modules_say_what_they_read():
    assert len(CONTAINERS) == len(all_containers())
    assert all(container.__doc__ for container in all_containers())
    assert {"npz", "safetensors"} <= CONTAINERS.keys()
