import numpy as np
import pytest

from symdiag.errors import InputError, UsageError
from symdiag.formats.interface import RawCheckpoint
from symdiag.formats.reading import write_raw
from symdiag.formats.weight_samples import load_samples

RNG = np.random.default_rng(1)
SHAPES = {"fc1.weight": (3, 2), "fc1.bias": (3,), "fc2.weight": (1, 3)}
DRAWS = {name: RNG.normal(size=(4, *shape)) for name, shape in SHAPES.items()}


def write(path, tree):
    write_raw(RawCheckpoint(str(path), "", "torch-zip", tree), path)
    return path


def member(s):
    return {name: values[s] for name, values in DRAWS.items()}


def assert_draws(samples):
    assert samples.num_samples == 4
    assert samples.draws.keys() == DRAWS.keys()
    for name, values in DRAWS.items():
        np.testing.assert_array_equal(samples.draws[name], values)


def test_one_file_per_draw(tmp_path):
    paths = [
        write(
            tmp_path / f"{s}.pt",
            {"epoch": s, "state_dict": {f"module.{n}": v for n, v in member(s).items()}},
        )
        for s in range(4)
    ]
    samples = load_samples(paths)
    assert_draws(samples)
    assert samples.paths == tuple(map(str, paths))
    assert len(set(samples.sha256)) == 4


@pytest.mark.parametrize(
    "wrap", [lambda members: members, lambda members: {"samples": members, "step": 7}]
)
def test_a_list_of_state_dicts(tmp_path, wrap):
    assert_draws(load_samples(write(tmp_path / "a.pt", wrap([member(s) for s in range(4)]))))


def test_a_leading_axis(tmp_path):
    samples = load_samples(
        write(tmp_path / "a.pt", {**DRAWS, "sigma": np.ones(4), "count": np.array(3)})
    )
    assert_draws(samples)
    assert {item.key for item in samples.ignored} == {"sigma", "count"}


def test_chains_and_draws_in_an_npz(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        **{name: values.reshape(2, 2, *SHAPES[name]) for name, values in DRAWS.items()},
    )
    assert_draws(load_samples(tmp_path / "a.npz", sample_axes=2))


def test_the_gaussian_of_the_draws(tmp_path):
    posterior = load_samples(write(tmp_path / "a.pt", DRAWS)).gaussian()
    values = DRAWS["fc1.bias"]
    np.testing.assert_allclose(posterior.loc["fc1.bias"], sum(values) / 4)
    np.testing.assert_allclose(
        posterior.scale["fc1.bias"] ** 2, sum((values - sum(values) / 4) ** 2) / 3
    )


@pytest.mark.parametrize(
    ("tree", "code"),
    [
        ({"fc.weight": np.ones((4, 2, 2)), "fc.bias": np.ones((3, 2))}, "shape-mismatch"),
        ({"fc.weight": np.ones((1, 2, 2))}, "not-samples"),
        (
            {"a.weight": np.ones((3, 3)), "a.bias": np.ones(3), "b.weight": np.ones((3, 3))},
            "not-samples",
        ),
        ({"count": np.array(3)}, "not-samples"),
        ([{"fc.weight": np.ones((2, 2))}, {"fc.weight": np.ones((3, 2))}], "shape-mismatch"),
        ([{"fc.weight": np.ones((2, 2))}, {"fd.weight": np.ones((2, 2))}], "shape-mismatch"),
        ({"fc.weight": np.full((4, 2, 2), np.nan)}, "non-finite"),
    ],
)
def test_what_is_no_set_of_draws(tmp_path, tree, code):
    with pytest.raises(InputError) as error:
        load_samples(write(tmp_path / "a.pt", tree))
    assert error.value.code == code
    assert error.value.hint


def test_draws_of_two_networks_name_the_tensors_that_differ(tmp_path):
    other = {**member(0), "fc1.bias": np.ones(4), "fc3.weight": np.ones((1, 1))}
    with pytest.raises(InputError) as error:
        load_samples([write(tmp_path / "a.pt", member(0)), write(tmp_path / "b.pt", other)])
    assert "fc1.bias, fc3.weight" in error.value.message


def test_a_call_that_makes_no_sense(tmp_path):
    with pytest.raises(UsageError):
        load_samples([])
    with pytest.raises(UsageError):
        load_samples(tmp_path / "a.pt", sample_axes=3)


@pytest.mark.parametrize(("members", "distinct"), [([0, 0, 0], 1), ([0, 1, 0, 2], 3)])
def test_draws_that_repeat_others_are_counted_once(tmp_path, members, distinct):
    samples = load_samples(write(tmp_path / "a.pt", [member(s) for s in members]))
    assert (samples.num_samples, samples.num_distinct) == (len(members), distinct)
