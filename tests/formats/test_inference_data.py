"""ArviZ InferenceData: its posterior group is read with h5py, nothing else is; without h5py the
error says so.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest

from symdiag.errors import InputError, SymdiagError
from symdiag.formats.inference_data import is_hdf5, read_posterior_group
from symdiag.formats.limits import Limits
from symdiag.formats.weight_samples import load_samples

RNG = np.random.default_rng(0)
DRAWS = {
    n: RNG.normal(size=(2, 5, *s))
    for n, s in {"fc1.weight": (3, 2), "fc1.bias": (3,), "fc2.weight": (1, 3)}.items()
}
MAGIC = b"\x89HDF\r\n\x1a\n"


@pytest.fixture
def h5py():
    return pytest.importorskip("h5py")


def write(h5py, path, extra=None):
    """The layout of ``InferenceData.to_netcdf``: groups of variables, coordinates as variables of
    their own.
    """
    with h5py.File(path, "w") as file:
        posterior = file.create_group("posterior")
        for name, values in DRAWS.items():
            posterior[name] = values
        posterior["chain"], posterior["draw"] = np.arange(2), np.arange(5)
        file.create_group("sample_stats")["lp"] = np.zeros((2, 5))
        if extra is not None:
            extra(file)
    return path


def test_without_h5py_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "a.nc").write_bytes(MAGIC + bytes(100))
    with pytest.raises(InputError) as error:
        load_samples(tmp_path / "a.nc")
    assert error.value.code == "missing-package"
    assert "pip install h5py" in error.value.hint


def test_what_counts_as_hdf5(tmp_path):
    (tmp_path / "a").write_bytes(MAGIC)
    (tmp_path / "b").write_bytes(MAGIC[:7])
    assert [is_hdf5(tmp_path / n) for n in ("a", "b", "nowhere", ".")] == [
        True,
        False,
        False,
        False,
    ]


def test_chains_and_draws_of_the_posterior_group(tmp_path, h5py):
    found = load_samples(write(h5py, tmp_path / "a.nc"))
    assert found.chains == 2
    assert found.draws.keys() == DRAWS.keys()
    for name, values in DRAWS.items():
        np.testing.assert_array_equal(found.draws[name], values.reshape(10, *values.shape[2:]))
    assert len(found.sha256[0]) == 64


def test_single_numbers_per_draw_are_ignored(tmp_path, h5py):
    def noise(file):
        file["posterior"]["sigma"] = np.ones((2, 5))
        file["posterior"]["count"] = np.ones((2, 5, 3), dtype=int)

    found = load_samples(write(h5py, tmp_path / "a.nc", noise))
    assert found.draws.keys() == DRAWS.keys()
    assert "sigma" in {item.key for item in found.ignored}


def linked(file):
    import h5py

    file["posterior"]["stolen"] = h5py.ExternalLink("other.nc", "/posterior/fc1.bias")


def soft(file):
    import h5py

    file["posterior"]["soft"] = h5py.SoftLink("/posterior/fc1.bias")


def virtual(file):
    import h5py

    layout = h5py.VirtualLayout(shape=(2, 5, 3), dtype="f8")
    layout[:] = h5py.VirtualSource("other.nc", "v", shape=(2, 5, 3))
    file["posterior"].create_virtual_dataset("stolen", layout)


def external(file):
    file["posterior"].create_dataset("stolen", (2, 5, 3), "f8", external=[("other.bin", 0, 240)])


def bomb(file):
    file["posterior"].create_dataset("huge", (2, 5, 10_000_000), "f8", chunks=True)


def enormous(file):
    file["posterior"].create_dataset("huge", (2**40, 2**10), "f8", chunks=(1, 1))


@pytest.mark.parametrize(
    ("extra", "code"),
    [
        (linked, "unsupported-tensor"),
        (soft, "unsupported-tensor"),
        (virtual, "unsupported-tensor"),
        (external, "unsupported-tensor"),
        (bomb, "limit-exceeded"),
        (enormous, "limit-exceeded"),
    ],
)
def test_values_from_elsewhere_or_nowhere_are_refused(tmp_path, monkeypatch, h5py, extra, code):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SymdiagError) as error:
        load_samples(write(h5py, tmp_path / "a.nc", extra))
    assert error.value.code == code


def test_other_hdf5_files_and_damaged_ones(tmp_path, h5py):
    with h5py.File(tmp_path / "keras.h5", "w") as file:
        file["weights"] = np.ones(3)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["posterior"] = h5py.ExternalLink("a.nc", "/posterior")
    whole = write(h5py, tmp_path / "a.nc").read_bytes()
    (tmp_path / "cut.nc").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "junk.nc").write_bytes(MAGIC + bytes(500))
    for name, code in (("keras.h5", "not-samples"), ("link.h5", "not-samples"), ("cut.nc", "corrupt"),
                       ("junk.nc", "corrupt")):  # fmt: skip
        with pytest.raises(InputError) as error:
            load_samples(tmp_path / name)
        assert error.value.code == code


def test_limits_apply(tmp_path, h5py):
    with pytest.raises(SymdiagError) as error:
        read_posterior_group(write(h5py, tmp_path / "a.nc"), limits=Limits(max_total_bytes=100))
    assert error.value.code == "limit-exceeded"
