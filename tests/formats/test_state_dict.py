from collections import OrderedDict

import numpy as np
import pytest

from symdiag.formats.state_dict import common_prefix, find_state_dict
from symdiag.formats.tree import at, replaced, walk

SD = OrderedDict((("fc1.weight_mu", np.ones((2, 3))), ("fc1.weight_rho", np.zeros((2, 3)))))


@pytest.mark.parametrize(
    "key", ["state_dict", "model_state_dict", "model", "params", "net", "weights"]
)
def test_wrappers_are_followed(key):
    found = find_state_dict({"epoch": 3, key: SD, "lr": 0.1})
    assert list(found.arrays) == list(SD)
    assert found.paths["fc1.weight_mu"] == (key, "fc1.weight_mu")
    assert {(item.key, item.reason) for item in found.ignored} == {
        ("epoch", "not an array"),
        ("lr", "not an array"),
    }


def test_wrappers_nest():
    assert find_state_dict({"model": {"state_dict": SD}}).paths["fc1.weight_mu"] == (
        "model",
        "state_dict",
        "fc1.weight_mu",
    )


def test_a_bare_state_dict_is_its_own():
    assert list(find_state_dict(SD).arrays) == list(SD)


def test_a_nested_tree_gives_dotted_keys():
    found = find_state_dict({"params": {"dense": {"kernel": np.ones((3, 2)), "bias": np.ones(2)}}})
    assert list(found.arrays) == ["dense.kernel", "dense.bias"]


def test_a_lightning_checkpoint():
    tree = {
        "epoch": 1,
        "pytorch-lightning_version": "2.5",
        "state_dict": {f"model.{key}": value for key, value in SD.items()},
        "optimizer_states": [{"state": {0: {"exp_avg": np.ones((2, 3))}}}],
        "lr_schedulers": [{"last_epoch": 2}],
        "callbacks": {"best": np.ones(())},
        "hyper_parameters": {"width": 3},
    }
    found = find_state_dict(tree)
    assert list(found.arrays) == ["model.fc1.weight_mu", "model.fc1.weight_rho"]
    assert any(item.key.startswith("optimizer_states") for item in found.ignored)


def test_a_guide_beside_its_model_is_the_posterior():
    guide = {
        "locs.fc1.weight_unconstrained": np.ones((2, 3)),
        "scales.fc1.weight_unconstrained": np.ones((2, 3)),
    }
    for names in (("model", "guide"), ("model_state_dict", "guide_state_dict")):
        found = find_state_dict(
            dict(zip(names, ({"bn.running_mean": np.ones(2)}, guide), strict=True))
        )
        assert list(found.arrays) == list(guide)
        assert [item.reason for item in found.ignored] == ["outside the state dict"]


def test_optimizer_moments_beside_weights_are_no_weights():
    found = find_state_dict({**SD, "optimizer": {"exp_avg": np.ones((2, 3))}})
    assert list(found.arrays) == list(SD)
    assert found.ignored[0].reason == "training state, not a weight"


def test_many_ignored_leaves_of_a_branch_are_one_line():
    tree = {
        "state_dict": SD,
        "optimizer": {"state": {i: {"exp_avg": np.ones(3)} for i in range(50)}},
    }
    (line,) = find_state_dict(tree).ignored
    assert "50" in line.key


def test_a_wrapper_key_without_arrays_is_not_followed():
    found = find_state_dict({"model": "mlp", "layers": SD})
    assert list(found.arrays) == [f"layers.{key}" for key in SD]


def test_replaced_changes_what_it_names_and_nothing_else():
    tree = {"a": [np.ones(2), (np.zeros(1), "x")], "b": SD}
    new = replaced(tree, {("a", 1, 0): np.full(1, 7.0)})
    assert at(new, ("a", 1, 0)) == 7.0
    assert at(tree, ("a", 1, 0)) == 0.0
    assert isinstance(new["a"][1], tuple)
    assert isinstance(new["b"], OrderedDict)
    assert [path for path, _ in walk(new)] == [path for path, _ in walk(tree)]


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (["module.fc1.weight", "module.fc2.weight"], "module."),
        (["_orig_mod.module.fc1.weight"], "_orig_mod.module."),
        (["model.net.0.weight", "model.net.0.bias"], "model.net."),
        (["module.fc1.weight", "head.weight"], ""),
        (
            ["module.weight", "module.bias"],
            "",
        ),  # a layer called "module": the name must keep a layer
        ([], ""),
    ],
)
def test_common_prefix(names, prefix):
    assert common_prefix(names) == prefix
