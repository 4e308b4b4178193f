"""The suite every dialect passes. A dialect without an example file in ``dialect_examples/`` fails it."""

import copy
import importlib.util
import pkgutil
from pathlib import Path

import numpy as np
import pytest
from dialect_example import raw_of

import symdiag.formats.dialects as package
from symdiag.errors import InputError
from symdiag.formats import interpret, load, save, to_raw
from symdiag.formats.dialects import dialects
from symdiag.formats.reading import write_raw
from symdiag.formats.tree import walk

MODULES = sorted(
    info.name for info in pkgutil.iter_modules(package.__path__) if not info.name.startswith("_")
)


def example_of(name):
    path = Path(__file__).parent / "dialect_examples" / f"{name}.py"
    assert path.is_file(), (
        f"add tests/conformance/dialect_examples/{name}.py with an EXAMPLE for the new dialect"
    )
    spec = importlib.util.spec_from_file_location(f"dialect_examples_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.EXAMPLE


@pytest.fixture(params=MODULES)
def case(request):
    """The dialect's module name, its example, and the posterior read from it."""
    example = example_of(request.param)
    return request.param, example, interpret(raw_of(copy.deepcopy(example.tree)), example.options)


def dialect_in(module):
    return importlib.import_module(f"{package.__name__}.{module}").DIALECT


def assert_same_tree(first, second):
    """Equal structure, keys in the same order, equal bits and dtypes."""
    left, right = list(walk(first)), list(walk(second))
    assert [path for path, _ in left] == [path for path, _ in right]
    for (path, a), (_, b) in zip(left, right, strict=True):
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype, path
            assert a.tobytes() == b.tobytes(), path
        else:
            assert a == b or a is b, path


def file_of(posterior):
    """The tree as it would be written, in the file's own terms."""
    return to_raw(posterior).tree


def test_is_recognised_by_its_own_name(case):
    module, _, posterior = case
    assert posterior.source.dialect == dialect_in(module).name


def test_means_and_stds_are_the_documented_ones(case):
    _, example, posterior = case
    assert list(posterior.names) == list(example.loc)
    for name in example.loc:
        assert posterior.loc[name].dtype == posterior.scale[name].dtype == np.float64
        np.testing.assert_array_equal(posterior.loc[name], example.loc[name])
        np.testing.assert_allclose(posterior.scale[name], example.scale[name], rtol=1e-12)


def test_unchanged_values_are_written_back_to_the_bit(case):
    _, example, posterior = case
    assert_same_tree(file_of(posterior), example.tree)


def test_moved_values_keep_their_bits(case):
    """Reversing every tensor reverses the stored numbers, exactly."""
    _, _, posterior = case
    turn = lambda values: {name: v.reshape(-1)[::-1].reshape(v.shape) for name, v in values.items()}  # noqa: E731
    moved = posterior.replace(loc=turn(posterior.loc), scale=turn(posterior.scale))
    again = reread(moved, case)
    for name in posterior.names:
        np.testing.assert_array_equal(again.loc[name], moved.loc[name])
        np.testing.assert_allclose(again.scale[name], moved.scale[name], rtol=1e-6)


def reread(posterior, case):
    """The posterior written to a tree and read from it once more, with its companion if it has one."""
    from dataclasses import replace

    from symdiag.formats.loading import companion_to_raw

    _, example, _ = case
    companion = companion_to_raw(posterior)
    options = replace(example.options, companion=companion) if companion else example.options
    return interpret(raw_of(file_of(posterior)), options)


def test_new_values_are_read_back(case):
    _, _, posterior = case
    rng = np.random.default_rng(5)
    changed = posterior.replace(
        loc={n: v + rng.normal(size=v.shape) for n, v in posterior.loc.items()},
        scale={n: v * rng.uniform(0.7, 0.99, v.shape) for n, v in posterior.scale.items()},
    )
    again = reread(changed, case)
    for name in posterior.names:
        np.testing.assert_allclose(again.loc[name], changed.loc[name], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(again.scale[name], changed.scale[name], rtol=2e-5)


def test_writing_leaves_what_was_read_alone(case):
    _, example, posterior = case
    before = copy.deepcopy(posterior.source.template.raw.tree)
    to_raw(posterior.replace(loc={n: v + 1.0 for n, v in posterior.loc.items()}))
    assert_same_tree(posterior.source.template.raw.tree, before)
    assert_same_tree(file_of(posterior), example.tree)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_by_name(case, bad):
    """In the stored mean and in the stored scale alike, with the place."""
    _, example, posterior = case
    item = posterior.source.template.fields[0]
    for slot in (item.loc, item.scale):
        keys = [part for part in slot.path if part not in ("file", "companion")]
        tree = copy.deepcopy(example.tree)
        node = tree
        for part in keys[:-1]:
            node = node[part]
        node[keys[-1]] = np.array(node[keys[-1]])
        node[keys[-1]].reshape(-1)[1] = bad
        with pytest.raises(InputError) as error:
            interpret(raw_of(tree), example.options)
        assert error.value.code == "non-finite"
        assert str(keys[-1]) in error.value.message
        assert "1 of" in error.value.message


def test_half_precision_is_read_and_written_and_noted(case):
    _, example, _ = case
    if not example.half:
        pytest.skip("half precision cannot hold this library's numbers")
    tree = mapped(example.tree, lambda a: a.astype(np.float16) if a.dtype.kind == "f" else a)
    posterior = interpret(raw_of(tree), example.options)
    assert any("float16" in note for note in posterior.source.notes)
    assert_same_tree(file_of(posterior), tree)


def mapped(tree, change):
    if isinstance(tree, dict):
        return type(tree)((key, mapped(value, change)) for key, value in tree.items())
    if isinstance(tree, list):
        return [mapped(value, change) for value in tree]
    return change(tree) if isinstance(tree, np.ndarray) else tree


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model"])
def test_is_found_inside_a_training_checkpoint(case, wrapper):
    _, example, posterior = case
    if not example.wraps:
        pytest.skip("this library's file is the whole checkpoint")
    optimizer = {
        "state": {0: {"exp_avg": np.ones((4, 3), np.float32)}},
        "param_groups": [{"lr": 0.1}],
    }
    tree = {"epoch": 3, wrapper: copy.deepcopy(example.tree), "optimizer": optimizer}
    wrapped = interpret(raw_of(tree), example.options)
    assert wrapped.names == posterior.names
    assert any("optimizer" in item.key for item in wrapped.source.ignored)
    assert_same_tree(file_of(wrapped), tree)


def test_survives_a_file(case, tmp_path):
    _, example, posterior = case
    options = {"model_shapes": example.options.model_shapes}
    write_raw(raw_of(copy.deepcopy(example.tree)), tmp_path / "a.pt")
    if example.options.companion is not None:
        write_raw(example.options.companion, tmp_path / "model.pt")
        options["companion"] = tmp_path / "model.pt"
    read = load(tmp_path / "a.pt", **options)
    for name in posterior.names:
        np.testing.assert_array_equal(read.scale[name], posterior.scale[name])
    save(
        read,
        tmp_path / "b.pt",
        companion=tmp_path / "model-b.pt" if "companion" in options else None,
    )
    again = load(tmp_path / "b.pt", **options)
    for name in posterior.names:
        np.testing.assert_array_equal(again.loc[name], posterior.loc[name])
        np.testing.assert_array_equal(again.scale[name], posterior.scale[name])


def test_names_are_unique_and_modules_say_what_they_read():
    names = [dialect.name for dialect in dialects()]
    assert len(names) == len(set(names)) == len(MODULES)
    for module in MODULES:
        assert importlib.import_module(f"{package.__name__}.{module}").__doc__
