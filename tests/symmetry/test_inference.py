import itertools
import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "network"))

from network_examples import ZOO, mlp_shapes, posterior_of, random_posterior

from symdiag.network import infer_network
from symdiag.symmetry.inference import infer_spec
from symdiag.symmetry.probing import chain_probe
from symdiag.symmetry.spec import Member
from symdiag.symmetry.verification import verify


def spec_of(shapes, activation=None, **keywords):
    posterior = posterior_of(shapes, **keywords)
    return infer_spec(posterior, infer_network(posterior, activation=activation))


def log10_order(spec):
    return spec.log_order / math.log(10)


@pytest.mark.parametrize("name", sorted(set(ZOO) - {"handmade-logvar-resmlp"}))
def test_group_orders_of_real_checkpoints(name):
    entry = ZOO[name]
    spec = spec_of(entry["shapes"], "relu")
    assert [group.width for group in spec] == entry["widths"]
    assert spec.log_order == pytest.approx(entry["log_group_order"], abs=1e-9)


def test_published_order_of_the_mlp():
    """Ainsworth et al. 2022, Table 1 (there truncated per layer to 10^3498)."""
    assert log10_order(spec_of(mlp_shapes(784, 512, 512, 512, 10), "relu")) == pytest.approx(
        3499.62, abs=0.005
    )


def test_published_order_of_vgg16():
    """Table 1's second row (there 10^35160), from the layer shapes of torchvision's VGG16."""
    shapes, channels = {}, 3
    for index, width in enumerate([64] * 2 + [128] * 2 + [256] * 3 + [512] * 6):
        shapes |= {
            f"features.{index}.weight": (width, channels, 3, 3),
            f"features.{index}.bias": (width,),
        }
        channels = width
    sizes = (512 * 49, 4096, 4096, 1000)
    for index, (units_in, units_out) in enumerate(itertools.pairwise(sizes)):
        shapes |= {
            f"last.{index}.weight": (units_out, units_in),
            f"last.{index}.bias": (units_out,),
        }
    spec = spec_of(shapes, "relu")
    assert log10_order(spec) == pytest.approx(35168.55, abs=0.005)
    assert spec.groups[12].members[-1] == Member("last.0.weight", 1, inner=49)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("widths", [(3,), (4, 2), (7, 5, 3)])
def test_orders_with_and_without_sign_flips(widths, activation):
    """Wiese et al. 2023: a 1-3-1 tanh net has 48 equivalent modes; widths T in general T! 2^T."""
    spec = spec_of(mlp_shapes(1, *widths, 1), activation)
    count = math.prod(math.factorial(w) * (2**w if activation == "tanh" else 1) for w in widths)
    assert spec.log_order == pytest.approx(math.log(count), abs=1e-12)
    assert all(group.signed is (activation == "tanh") for group in spec)
    if (widths, activation) == ((3,), "tanh"):
        assert count == 48


def test_linear_models_have_a_trivial_group():
    spec = spec_of(mlp_shapes(4, 2), "relu")
    assert (len(spec), spec.log_order) == (0, 0.0)


def test_members_of_an_mlp_in_both_layouts():
    (group,) = spec_of(mlp_shapes(3, 5, 2), "tanh").groups
    assert group.name == "fc1"
    assert group.members == (
        Member("fc1.weight", 0),
        Member("fc1.bias", 0),
        Member("fc2.weight", 1),
    )
    stored_in_out = {"a.W": (3, 5), "a.b": (1, 5), "b.W": (5, 2), "b.b": (1, 2)}
    (group,) = spec_of(stored_in_out, "tanh").groups
    assert group.members == (Member("a.W", 1), Member("a.b", 1), Member("b.W", 0))


def test_norm_without_running_statistics_is_not_vouched_for():
    shapes = {
        "fc1.weight": (6, 3),
        "norm.weight": (6,),
        "norm.bias": (6,),
        "fc2.weight": (4, 6),
        "fc3.weight": (1, 4),
    }
    spec = spec_of(shapes, "tanh")
    assert [group.name for group in spec] == ["fc2"]
    assert any("GroupNorm" in note and "fc1" in note for note in spec.notes)
    named = spec_of({k.replace("norm", "ln"): v for k, v in shapes.items()}, "tanh")
    assert [(group.name, group.signed) for group in named] == [("fc1", False), ("fc2", True)]
    assert any("read as LayerNorm by its name" in note for note in named.notes)
    assert any("sign flips" in note for note in named.notes)


RNN = {
    f"rnn.{kind}_l0": size
    for kind, size in (("weight_ih", (20, 6)), ("weight_hh", (20, 5)), ("bias_ih", (20,)))
}
CHAINS = {
    "mlp": (mlp_shapes(3, 5, 4, 2), {}),
    "stored (in, out)": (
        {"a.W": (3, 5), "a.b": (1, 5), "b.W": (5, 5), "b.b": (1, 5), "c.W": (5, 2)},
        {},
    ),
    "batchnorm": (
        {**mlp_shapes(3, 5, 2), "bn.weight": (5,), "bn.bias": (5,)},
        {"bn.running_mean": (5,), "bn.running_var": (5,)},
    ),
    "layernorm": (
        {"fc1.weight": (5, 3), "ln.weight": (5,), "ln.bias": (5,), "fc2.weight": (2, 5)},
        {},
    ),
    "conv1d": ({"c1.weight": (4, 2, 3), "c2.weight": (5, 4, 3), "fc.weight": (2, 15)}, {}),
    "conv2d": (
        {
            "c1.weight": (4, 2, 3, 3),
            "c1.bias": (4,),
            "c2.weight": (5, 4, 2, 2),
            "fc.weight": (2, 20),
        },
        {},
    ),
    "conv with batchnorm": (
        {"fc1.weight": (4, 2, 3, 3), "bn.weight": (4,), "bn.bias": (4,), "fc2.weight": (5, 16)},
        {"bn.running_mean": (4,), "bn.running_var": (4,)},
    ),
    "conv3d": ({"c1.weight": (4, 2, 3, 3, 3), "fc1.weight": (6, 4), "fc2.weight": (2, 6)}, {}),
    "recurrent": ({"emb.weight": (9, 6), **RNN, "fc.weight": (2, 5), "fc.bias": (2,)}, {}),
    "recurrent (in, out)": (
        {
            "r.weight_ih": (3, 20),
            "r.weight_hh": (5, 20),
            "r.bias": (20,),
            "a.W": (5, 4),
            "b.W": (4, 2),
        },
        {},
    ),
}


def in_order(shapes, buffers):
    """BatchNorm's tensors right after the layer they scale."""
    order = ["fc1.weight", "fc1.bias", "bn.weight", "bn.bias"]
    names = (
        sorted(shapes, key=lambda n: order.index(n) if n in order else len(order))
        if buffers
        else list(shapes)
    )
    return {name: shapes[name] for name in names}


@pytest.mark.parametrize("activation", ["tanh", "relu", None])
@pytest.mark.parametrize("case", sorted(CHAINS))
def test_inferred_groups_hold_on_a_forward_pass(case, activation):
    shapes, buffers = CHAINS[case]
    generator = np.random.default_rng(0)
    posterior = random_posterior(in_order(shapes, buffers), generator, buffers=buffers)
    network = infer_network(posterior, activation=activation)
    spec = infer_spec(posterior, network)
    assert len(spec) == len(network.hidden_widths)
    checked = verify(spec, posterior, chain_probe(network, generator), generator)
    assert checked.failures == ()
    assert checked.kept == spec


def test_groups_beside_one_that_is_left_out_are_still_checked():
    shapes = {
        "c1.weight": (4, 2, 3, 3),
        "gn.weight": (4,),
        "gn.bias": (4,),
        "c2.weight": (5, 4, 3, 3),
        "fc.weight": (2, 5),
    }
    generator = np.random.default_rng(1)
    posterior = random_posterior(shapes, generator)
    network = infer_network(posterior, activation="tanh")
    spec = infer_spec(posterior, network)
    assert [group.name for group in spec] == ["c2"]
    assert verify(spec, posterior, chain_probe(network, generator), generator).kept == spec
