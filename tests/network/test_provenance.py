"""Which files admit the plain chain alone, and which are only assumed to be one."""

from __future__ import annotations

import numpy as np
import pytest
from network_examples import posterior_of

from symdiag.errors import UsageError
from symdiag.network import Provenance, chain_provenance, infer_network, states_chain


def known(shapes, metadata=None):
    posterior = posterior_of(shapes, **({} if metadata is None else {"metadata": metadata}))
    return chain_provenance(infer_network(posterior).layers, stated=states_chain(posterior))


def mlp(names, *sizes):
    shapes = {}
    for name, inputs, outputs in zip(names, sizes, sizes[1:], strict=False):
        shapes |= {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
    return shapes


@pytest.mark.parametrize(
    ("names", "sizes", "source"),
    [
        (["fc1", "fc2"], (3, 5, 2), "determined"),
        (["fc1", "fc2"], (3, 5, 3), "determined"),  # a skip around the hidden layer ties nothing
        (["fc1", "fc2"], (5, 5, 2), "assumed"),  # h = x + tanh(W x)
        (["fc1", "fc2"], (3, 2, 2), "assumed"),  # y = h + V h
        (["fc1", "fc2", "fc3"], (3, 6, 5, 2), "determined"),
        (["fc1", "fc2", "fc3"], (3, 6, 5, 3), "determined"),
        (["fc1", "fc2", "fc3"], (3, 6, 6, 2), "assumed"),
        (["inp", "b1", "b2", "out"], (10, 12, 8, 12, 1), "assumed"),
        (["0", "2", "4"], (3, 6, 6, 2), "determined"),  # numbers of a Sequential with activations
        (["net.0", "net.2", "net.4"], (3, 6, 6, 2), "determined"),
        (["0", "1", "2"], (3, 6, 6, 2), "determined"),  # a list has no forward: a Sequential
        (["layers.0", "layers.1", "layers.2"], (3, 6, 6, 2), "assumed"),  # a list within a module
        (["a.0", "b.0", "c.0"], (3, 6, 6, 2), "assumed"),  # two outputs of modules are in reach
        (["a.0", "b.0", "b.2"], (3, 6, 6, 2), "determined"),  # one of them is inside b
        (["a.0", "a.2", "b.0"], (3, 6, 6, 2), "determined"),
        (["a.0", "a.2", "b.0", "b.2"], (3, 6, 5, 6, 2), "determined"),  # both sixes are inside
    ],
)
def test_chains_of_linear_layers(names, sizes, source):
    found = known(mlp(names, *sizes))
    assert (found.source, found.function) == (source, "")
    assert found.why


def test_the_file_may_say_so_itself():
    shapes = mlp(["fc1", "fc2", "fc3"], 3, 6, 6, 2)
    assert known(shapes).source == "assumed"
    assert known(shapes, {"network": "chain"}).source == "determined"
    assert known(shapes, {"symdiag.network": " Chain "}).source == "determined"
    assert known(shapes, {"network": "resnet"}).source == "assumed"


def test_a_recurrent_stack_is_wired_by_pytorch_but_its_output_is_within_reach():
    def lstm(hidden, inputs, outputs):
        shapes = {}
        for level, size in enumerate((inputs, hidden)):
            shapes[f"lstm.weight_ih_l{level}"] = (4 * hidden, size)
            shapes[f"lstm.weight_hh_l{level}"] = (4 * hidden, hidden)
            shapes[f"lstm.bias_ih_l{level}"] = shapes[f"lstm.bias_hh_l{level}"] = (4 * hidden,)
        return {**shapes, "out.weight": (outputs, hidden), "out.bias": (outputs,)}

    assert known(lstm(6, 3, 2)).source == "determined"
    assert known(lstm(6, 6, 2)).source == "assumed"


def test_positional_lists_are_numbered_without_being_modules():
    shapes = {"params.0": (6, 3), "params.1": (6,), "params.2": (6, 6), "params.3": (6,)}
    assert known({**shapes, "params.4": (2, 6), "params.5": (2,)}).source == "assumed"


def test_the_place_of_a_norm_is_known_from_the_numbers_of_a_sequential_alone():
    def normed(names):
        first, norm, last = names
        shapes = {**mlp([first], 3, 6), **mlp([last], 6, 2)}
        return {
            **shapes,
            f"{norm}.weight": (6,),
            f"{norm}.bias": (6,),
            f"{norm}.running_mean": (6,),
        }

    order = ("fc1", "bn", "fc2")
    shapes = normed(order)
    shapes = {k: shapes[k] for name in order for k in shapes if k.startswith(f"{name}.")}
    named = known(shapes)
    assert named.source == "determined"
    assert "bn" in named.function
    for order, placed in (
        (("0", "1", "3"), True),
        (("net.0", "net.1", "net.3"), True),
        (("0", "2", "3"), False),  # after the activation
        (("layers.0", "layers.1", "layers.2"), False),  # a list, wired at will
    ):
        shapes = normed(order)
        shapes = {k: shapes[k] for name in order for k in shapes if k.startswith(f"{name}.")}
        assert (known(shapes).function == "") == placed


def test_a_list_of_layers_and_norms_is_no_sequential():
    def alternating(parent, *numbers):
        shapes = mlp([f"{parent}{n}" for n in numbers[::2]], 3, 6, 6, 2)
        for number in numbers[1::2]:
            for part in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{parent}{number}.{part}"] = (6,)
        return dict(sorted(shapes.items(), key=lambda item: int(item[0].split(".")[-2])))

    assert known(alternating("layers.", 0, 1, 2, 3, 4)).source == "assumed"
    assert known(alternating("layers.", 0, 1, 3, 4, 6)).source == "determined"
    assert known(alternating("", 0, 1, 2, 3, 4)).source == "determined"


def test_what_must_not_rest_on_an_assumed_network_is_refused():
    assumed = Provenance("assumed", "read as a plain chain, although ...")
    for ask in (assumed.require_groups, assumed.require_function):
        with pytest.raises(UsageError, match="retraining") as caught:
            ask("retraining")
        assert caught.value.code == "network-assumed"
        assert all(w in caught.value.hint for w in ("--model", "--spec", "--assume-chain"))
    Provenance("assumed", "", accepted=True).require_function("retraining")
    unplaced = Provenance("determined", "", function="the place of bn is open")
    unplaced.require_groups("aligning")
    with pytest.raises(UsageError):
        unplaced.require_function("retraining")
    assert not np.any([assumed.is_settled, not unplaced.is_settled])
