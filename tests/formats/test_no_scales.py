"""What a file without a readable posterior is told."""

import difflib
import re

import numpy as np
import pytest
from counted_work import grows_in_proportion

from symdiag.errors import InputError
from symdiag.formats import interpret
from symdiag.formats.interface import RawCheckpoint


def read(tree):
    return interpret(RawCheckpoint("net.pt", "0", "torch-zip", tree))


def code_of(tree):
    with pytest.raises(InputError) as error:
        read(tree)
    return error.value


def test_scales_of_an_unknown_pattern_are_not_called_a_deterministic_network():
    error = code_of(
        {
            "fc.weightC": np.ones((3, 2)),
            "fc.weightAlpha": np.ones((3, 2)),
            "bn.running_var": np.ones(3),
        }
    )
    assert error.code == "no-scales-found"
    assert "fc.weightAlpha" in error.message
    assert "deterministic" not in error.message


@pytest.mark.parametrize(("loc", "scale"), [("w_m", "w_s"), ("mW", "vW")])
def test_matrices_in_twos_are_not_called_a_deterministic_network(loc, scale):
    """Fully connected layers have one matrix each; here each has two of one shape."""
    tree = {f"fc{k}.{word}": np.ones((3, 2)) for k in (1, 2) for word in (loc, scale)}
    error = code_of(tree)
    assert "deterministic" not in error.message
    assert scale in error.message
    assert "LAYER.weight_mu" in error.hint
    del tree[f"fc2.{scale}"]
    assert "deterministic" in code_of(tree).message


def test_the_pattern_named_as_nearest_is_one_that_is_read():
    hint = code_of({"fc.W_mu": np.ones((3, 2)), "fc.W_q": np.ones((3, 2))}).hint
    loc, scale = re.search(r"\(LAYER\.(\w+), LAYER\.(\w+)\)", hint).groups()
    assert read({f"fc.{loc}": np.ones((3, 2)), f"fc.{scale}": np.ones((3, 2))}).loc.keys() == {
        "fc.weight"
    }


def test_messages_stay_readable_whatever_the_names_in_the_file():
    key = "x" * 1_000_000 + ".weight_mu"
    assert len(code_of({key: np.ones((3, 2))}).message) < 1000
    assert (
        len(
            code_of(
                {key: np.ones((3, 2)), "fc.weight_mu": np.ones(2), "fc.weight_std": np.ones(2)}
            ).message
        )
        < 2000
    )


def test_many_names_are_not_all_compared(monkeypatch):
    """Comparing each with every pattern took half a minute for 50,000 names."""
    compared = []

    class Counted(difflib.SequenceMatcher):
        def __init__(self, *arguments):
            compared.append(arguments)
            super().__init__(*arguments)

    monkeypatch.setattr(difflib, "SequenceMatcher", Counted)

    def refused(count):
        tree = {f"t{i}": np.ones((1, 1)) for i in range(count)}
        return lambda: code_of(tree)

    refused(1000)()
    few = len(compared)
    refused(2000)()
    assert len(compared) == 2 * few > 0
    assert grows_in_proportion(refused, 500)


def test_an_optimiser_s_state_without_the_model():
    group = {"hess": np.ones(6, np.float32), "ess": 100.0, "weight_decay": 0.1, "params": [0]}
    assert code_of({"state": {}, "param_groups": [group]}).code == "missing-model"


def test_a_near_miss_names_the_library_it_misses():
    """A bayesian-torch file that lost its scales."""
    assert (
        "bayesian-torch"
        in code_of({"fc1.mu_weight": np.ones((3, 2)), "fc1.mu_bias": np.ones(3)}).hint
    )
