import numpy as np
import pytest
from network_examples import ZOO, mlp_shapes, posterior_of

from symdiag.errors import UnsupportedError, UsageError
from symdiag.network import infer_network


def layout(network):
    return [
        (layer.name, layer.kind, layer.in_features, layer.out_features, layer.inner)
        for layer in network.layers
    ]


@pytest.mark.parametrize("name", sorted(ZOO))
def test_hidden_widths_of_real_checkpoints(name):
    entry = ZOO[name]
    network = infer_network(posterior_of(entry["shapes"]), activation=entry["activation"])
    if name == "handmade-logvar-resmlp":
        assert network.hidden_widths == (12, 8, 12)
        assert any("skip connections" in note and "--model" in note for note in network.notes)
    else:
        assert network.hidden_widths == tuple(entry["widths"])
        assert all("skip connections" in note or "channels first" in note for note in network.notes)


def test_weights_stored_in_out_are_told_by_their_neighbours_and_a_square_layer_follows():
    shapes = {
        "l1.W": (10, 12),
        "l1.b": (12,),
        "l2.W": (12, 12),
        "l2.b": (12,),
        "l3.W": (12, 1),
        "l3.b": (1,),
    }
    network = infer_network(posterior_of(shapes), activation="relu")
    assert [layer.in_out for layer in network.layers] == [True] * 3
    assert network.hidden_widths == (12, 12)
    assert not any("(out, in)" in note for note in network.notes)


def test_one_hidden_one_net_is_settled_by_its_bias():
    shapes = {"l1.W": (1, 10), "l1.b": (1, 10), "l2.W": (10, 1), "l2.b": (1, 1)}
    network = infer_network(posterior_of(shapes), activation="relu")
    assert network.layers[0].in_out
    assert (network.hidden_widths, network.notes) == ((10,), ())


def test_one_hidden_one_net_without_biases_is_an_assumption():
    for shapes, in_out in (
        ({"a.weight": (10, 1), "b.weight": (1, 10)}, False),
        ({"a.weight": (1, 10), "b.weight": (10, 1)}, True),
    ):
        network = infer_network(posterior_of(shapes), activation="relu")
        assert network.hidden_widths == (10,)
        assert network.layers[0].in_out is in_out
        assert any("(out, in) and as (in, out)" in note for note in network.notes)


def test_square_net_is_an_assumption_unless_the_source_says_how_it_stores():
    shapes = mlp_shapes(5, 5, 5)
    assert any(
        "(out, in)" in note for note in infer_network(posterior_of(shapes), activation="relu").notes
    )
    told = infer_network(
        posterior_of(shapes, metadata={"symdiag.layout": "in,out"}), activation="relu"
    )
    assert told.layers[0].in_out
    assert not any("(out, in)" in note for note in told.notes)
    assert (
        infer_network(posterior_of(shapes, dialect="numpyro"), activation="relu").layers[0].in_out
    )
    told = infer_network(
        posterior_of(shapes, dialect="numpyro", metadata={"layout": "out,in"}), activation="relu"
    )
    assert not told.layers[0].in_out


def test_numpyro_names_without_modules():
    shapes = {"w1": (3, 8), "b1": (8,), "w2": (8, 2), "b2": (2,)}
    network = infer_network(posterior_of(shapes), activation="tanh")
    assert layout(network) == [("w1", "linear", 3, 8, 1), ("w2", "linear", 8, 2, 1)]
    assert [layer.bias for layer in network.layers] == ["b1", "b2"]


def test_broken_chain_names_both_layers_and_shapes():
    shapes = {
        "l1.weight": (16, 64),
        "l1.bias": (16,),
        "l2.weight": (16, 12),
        "l2.bias": (16,),
        "l3.weight": (10, 16),
        "l3.bias": (10,),
    }
    with pytest.raises(UnsupportedError) as caught:
        infer_network(posterior_of(shapes))
    assert caught.value.code == "broken-chain"
    for part in ("l1", "(16, 64)", "l2", "(16, 12)"):
        assert part in caught.value.message
    assert "--spec" in caught.value.hint


def test_bias_that_does_not_fit_is_a_broken_chain():
    with pytest.raises(UnsupportedError, match=r"fc1.bias \(7,\)") as caught:
        infer_network(posterior_of({**mlp_shapes(3, 8, 1), "fc1.bias": (7,)}))
    assert caught.value.code == "broken-chain"


@pytest.mark.parametrize("shapes", [{}, {"a.bias": ()}])
def test_no_layer_at_all(shapes):
    with pytest.raises(UnsupportedError, match="no layer weights"):
        infer_network(posterior_of(shapes))


def test_linear_model_has_no_hidden_width():
    network = infer_network(posterior_of(mlp_shapes(4, 3)), activation="relu")
    assert network.hidden_widths == ()
    assert network.is_mlp


def test_activation_from_argument_then_metadata_then_unknown():
    shapes = mlp_shapes(3, 8, 1)
    stored = posterior_of(shapes, metadata={"activation": "tanh"})
    assert infer_network(stored).activation == "tanh"
    assert infer_network(stored, activation="ReLU").activation == "relu"
    unknown = infer_network(posterior_of(shapes))
    assert unknown.activation is None
    assert "activation unknown: sign flips were not considered" in unknown.notes
    with pytest.raises(UsageError) as caught:
        infer_network(posterior_of(shapes), activation="rleu")
    assert caught.value.code == "unknown-activation"


def test_alphabetical_files_are_read_in_numerical_order():
    shapes = {f"{k}.weight": (5, 5) for k in (0, 10, 2)} | {"10.weight": (1, 5), "0.weight": (5, 7)}
    network = infer_network(posterior_of(shapes), activation="relu")
    assert [layer.name for layer in network.layers] == ["0", "2", "10"]
    assert any("numerical order" in note for note in network.notes)


def test_alphabetical_files_with_other_names_are_read_in_the_only_order_that_fits():
    shapes = {
        "classifier.0.bias": (10,),
        "classifier.0.weight": (10, 6 * 4),
        "features.0.bias": (6,),
        "features.0.weight": (6, 1, 3, 3),
    }
    network = infer_network(posterior_of(shapes), activation="relu")
    assert layout(network) == [
        ("features.0", "conv2d", 1, 6, 1),
        ("classifier.0", "linear", 24, 10, 4),
    ]
    assert any("only order" in note for note in network.notes)


def test_several_orders_that_fit_are_not_guessed_between():
    shapes = {
        "a.weight": (4, 9),
        "b.weight": (6, 6),
        "c.weight": (6, 6),
        "d.weight": (6, 7),
        "e.weight": (9, 6),
    }
    with pytest.raises(UnsupportedError) as caught:
        infer_network(posterior_of(shapes))
    assert caught.value.code == "broken-chain"


def test_convolutions_with_flatten_block_batchnorm_and_global_pooling():
    shapes = {
        "conv1.weight": (6, 1, 3, 3),
        "bn1.weight": (6,),
        "bn1.bias": (6,),
        "conv2.weight": (8, 6, 3, 3),
        "conv2.bias": (8,),
        "fc.weight": (10, 8 * 4),
        "fc.bias": (10,),
    }
    buffers = {"bn1.running_mean": (6,), "bn1.running_var": (6,)}
    network = infer_network(posterior_of(shapes, buffers=buffers), activation="relu")
    assert layout(network) == [
        ("conv1", "conv2d", 1, 6, 1),
        ("bn1", "batchnorm", 6, 6, 1),
        ("conv2", "conv2d", 6, 8, 1),
        ("fc", "linear", 32, 10, 4),
    ]
    pooled = infer_network(
        posterior_of({**shapes, "fc.weight": (10, 8)}, buffers=buffers), activation="relu"
    )
    assert pooled.layers[-1].inner == 1


@pytest.mark.parametrize(("rank", "kind"), [(1, "conv1d"), (2, "conv2d"), (3, "conv3d")])
def test_convolution_ranks(rank, kind):
    shapes = {"c1.weight": (4, 2, *(3,) * rank), "c2.weight": (5, 4, *(3,) * rank)}
    assert [layer.kind for layer in infer_network(posterior_of(shapes)).layers] == [kind, kind]


def test_grouped_convolution_breaks_the_chain():
    shapes = {"c1.weight": (8, 3, 3, 3), "c2.weight": (8, 2, 3, 3), "c3.weight": (4, 8, 3, 3)}
    with pytest.raises(UnsupportedError) as caught:
        infer_network(posterior_of(shapes))
    assert caught.value.code == "broken-chain"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("ln", "layernorm"), ("layer_norm1", "layernorm"), ("norm", "groupnorm"), ("gn", "groupnorm")],
)
def test_norms_without_running_statistics(name, kind):
    shapes = {
        "fc1.weight": (6, 3),
        "fc1.bias": (6,),
        f"{name}.weight": (6,),
        f"{name}.bias": (6,),
        "fc2.weight": (1, 6),
        "fc2.bias": (1,),
    }
    assert infer_network(posterior_of(shapes)).layers[1].kind == kind


@pytest.mark.parametrize(("gates", "kind"), [(4, "lstm"), (3, "gru"), (1, "rnn")])
def test_recurrent_layers_behind_an_embedding(gates, kind):
    shapes = {"emb.weight": (50, 6)}
    for level, size in ((0, 6), (1, 5)):
        shapes |= {
            f"rnn.weight_ih_l{level}": (gates * 5, size),
            f"rnn.weight_hh_l{level}": (gates * 5, 5),
            f"rnn.bias_ih_l{level}": (gates * 5,),
            f"rnn.bias_hh_l{level}": (gates * 5,),
        }
    shapes |= {"fc.weight": (3, 5), "fc.bias": (3,)}
    network = infer_network(posterior_of(shapes), activation="tanh")
    assert layout(network) == [
        ("emb", "embedding", 50, 6, 1),
        ("rnn.l0", kind, 6, 5, 1),
        ("rnn.l1", kind, 5, 5, 1),
        ("fc", "linear", 5, 3, 1),
    ]


def test_recurrent_layers_as_other_libraries_store_them():
    halves = {
        "lstm.ih.weight": (20, 3),
        "lstm.ih.bias": (20,),
        "lstm.hh.weight": (20, 5),
        "lstm.hh.bias": (20,),
    }
    network = infer_network(posterior_of({**halves, "fc.weight": (1, 5), "fc.bias": (1,)}))
    assert layout(network) == [("lstm", "lstm", 3, 5, 1), ("fc", "linear", 5, 1, 1)]
    transposed = {"lstm.weight_ih": (3, 20), "lstm.weight_hh": (5, 20), "lstm.bias": (20,)}
    network = infer_network(posterior_of({**transposed, "fc.weight": (5, 1), "fc.bias": (1,)}))
    assert layout(network) == [("lstm", "lstm", 3, 5, 1), ("fc", "linear", 5, 1, 1)]
    assert network.layers[0].in_out


@pytest.mark.parametrize(
    "shapes",
    [
        {
            "attn.in_proj_weight": (24, 8),
            "attn.in_proj_bias": (24,),
            "attn.out_proj.weight": (8, 8),
            "attn.out_proj.bias": (8,),
        },
        {
            "rnn.weight_ih_l0": (20, 3),
            "rnn.weight_hh_l0": (20, 5),
            "rnn.weight_ih_l0_reverse": (20, 3),
            "rnn.weight_hh_l0_reverse": (20, 5),
        },
        {"rnn.weight_ih_l0": (20, 3), "rnn.weight_hh_l0": (20, 2), "rnn.weight_hr_l0": (2, 5)},
    ],
)
def test_what_shapes_cannot_determine_is_asked_for(shapes):
    with pytest.raises(UnsupportedError) as caught:
        infer_network(posterior_of(shapes))
    assert caught.value.code == "undetermined-architecture"
    assert "--model" in caught.value.hint


def test_lone_scalars_are_noted_and_left_out():
    network = infer_network(
        posterior_of({"log_noise": (), **mlp_shapes(3, 4, 1)}), activation="relu"
    )
    assert network.hidden_widths == (4,)
    assert any("log_noise" in note for note in network.notes)


@pytest.mark.parametrize(
    ("widths", "suspected"),
    [
        ((5, 12, 8, 12, 1), True),
        ((5, 9, 9, 9, 1), True),
        ((5, 9, 9, 1), True),  # h + f(h) around one square layer
        ((9, 9, 1), True),  # x + f(x)
        ((5, 3, 3), True),  # y = h + f(h)
        ((5, 12, 8, 6, 1), False),
        ((5, 12, 5), False),  # x + f(x) at the output ties no hidden units
    ],
)
def test_skip_connections_are_suspected_wherever_two_widths_agree(widths, suspected):
    """What a file cannot rule out is never assumed in silence: a skip connection needs equal widths."""
    network = infer_network(posterior_of(mlp_shapes(*widths)), activation="relu")
    assert any("skip connections" in note for note in network.notes) is suspected


@pytest.mark.parametrize("prefix", ["", "params."])
def test_positional_lists_take_biases_by_position_and_say_so(prefix):
    shapes = {f"{prefix}{k}": size for k, size in enumerate([(3, 8), (8,), (8, 1), (1,)])}
    network = infer_network(posterior_of(shapes), activation="relu")
    assert [(layer.weight, layer.bias) for layer in network.layers] == [
        (f"{prefix}0", f"{prefix}1"),
        (f"{prefix}2", f"{prefix}3"),
    ]
    assert network.hidden_widths == (8,)
    assert any("by position" in note for note in network.notes)


def test_named_norms_are_not_taken_for_biases():
    shapes = {"fc1.weight": (6, 3), "norm.weight": (6,), "fc2.weight": (1, 6)}
    assert [layer.kind for layer in infer_network(posterior_of(shapes)).layers] == [
        "linear",
        "groupnorm",
        "linear",
    ]


def test_buffers_outside_layers():
    shapes = mlp_shapes(3, 6, 1)
    seen = infer_network(
        posterior_of(shapes, buffers={"fc1.mask": (6, 3), "bn.num_batches_tracked": ()}),
        activation="relu",
    )
    assert seen.hidden_widths == (6,)
    assert [note.split(":")[0] for note in seen.notes] == ["fc1.mask"]
    with pytest.raises(UnsupportedError) as caught:
        infer_network(
            posterior_of(shapes, buffers={"bn.running_mean": (6,), "bn.running_var": (6,)})
        )
    assert caught.value.code == "undetermined-architecture"


@pytest.mark.parametrize(
    "shapes",
    [
        {
            "c1.weight": (8, 3, 3, 3),
            "g.weight": (8, 4, 3, 3),
            "fc.weight": (4, 8),
        },  # grouped: fits only as c1, fc, g
        {
            "tok_emb.weight": (11, 8),
            "pos_emb.weight": (8, 8),
            **mlp_shapes(8, 6, 2),
        },  # positions as wide as the units
    ],
)
def test_layers_that_cannot_follow_one_another_break_the_chain_even_if_shapes_fit(shapes):
    with pytest.raises(UnsupportedError) as caught:
        infer_network(posterior_of(shapes))
    assert caught.value.code == "broken-chain"


@pytest.mark.parametrize(
    "names", ["q k v", "query key value", "q_proj k_proj v_proj", "attn.to_q attn.to_k attn.to_v"]
)
def test_attention_written_by_hand_is_no_chain(names):
    shapes = {f"{name}.weight": (8, 8) for name in ("enter", *names.split(), "out")}
    with pytest.raises(UnsupportedError) as caught:
        infer_network(posterior_of(shapes))
    assert caught.value.code == "undetermined-architecture"


def test_copies_of_one_tensor_are_no_chain():
    """A file format without shared storage holds a tied embedding twice; its units form one group, not two."""
    posterior = posterior_of({"emb.weight": (11, 8), "fc.weight": (8, 8), "dec.weight": (11, 8)})
    loc = {**posterior.loc, "emb.weight": posterior.loc["dec.weight"] + np.arange(8)}
    tied = posterior.replace(loc={**loc, "dec.weight": loc["emb.weight"]})
    with pytest.raises(UnsupportedError, match=r"emb.weight, dec.weight") as caught:
        infer_network(tied)
    assert caught.value.code == "undetermined-architecture"
    assert infer_network(posterior.replace(loc=loc)).hidden_widths == (8, 8)


@pytest.mark.parametrize(
    ("names", "noted"),
    [("body trunk", True), ("fc1 fc2", False), ("fc2 fc1", True), ("mu_head var_head", True)],
)
def test_the_order_of_layers_of_one_shape_is_an_assumption_unless_numbered(names, noted):
    shapes = {
        f"{name}.weight": size
        for name, size in zip(
            ["enter", *names.split(), "out"], [(6, 3), (6, 6), (6, 6), (1, 6)], strict=True
        )
    }
    notes = infer_network(posterior_of(shapes), activation="relu").notes
    assert any("order of the file" in note for note in notes) is noted


def test_flattening_channels_first_is_an_assumption():
    shapes = {"c.weight": (6, 1, 3, 3), "fc.weight": (4, 54)}
    assert any(
        "channels first" in note
        for note in infer_network(posterior_of(shapes), activation="relu").notes
    )
    shapes = {"c.weight": (6, 1, 3, 3), "fc.weight": (4, 6)}
    assert infer_network(posterior_of(shapes), activation="relu").notes == ()


def test_alphabetical_files_are_not_read_in_one_of_several_orders():
    """An autoencoder's decoder comes first in a sorted file: read as it stands, inputs and hidden units swap places."""
    shapes = {
        "decoder.weight": (784, 32),
        "decoder.bias": (784,),
        "encoder.weight": (32, 784),
        "encoder.bias": (32,),
    }
    with pytest.raises(UnsupportedError, match="several orders") as caught:
        infer_network(posterior_of(shapes, container="safetensors"), activation="relu")
    assert caught.value.code == "undetermined-architecture"
    assert infer_network(posterior_of(shapes)).hidden_widths == (
        784,
    )  # a file that keeps the order of its making
    numbers = {
        f"fc{k}.{rest}": size
        for k in (1, 2, 3)
        for rest, size in (("weight", (6, 6)), ("bias", (6,)))
    }
    assert infer_network(posterior_of(numbers, container="safetensors")).hidden_widths == (6, 6)


def test_norms_listed_behind_the_layers_are_not_all_given_to_the_last():
    shapes = {"conv1.weight": (6, 3, 3, 3), "conv2.weight": (6, 6, 3, 3)}
    shapes |= {f"bn{k}.{kind}": (6,) for k in (1, 2) for kind in ("weight", "bias")} | {
        "fc.weight": (2, 6)
    }
    with pytest.raises(UnsupportedError, match="follows another norm") as caught:
        infer_network(posterior_of(shapes))
    assert caught.value.code == "broken-chain"
