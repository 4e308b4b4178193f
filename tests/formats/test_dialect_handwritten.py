"""Hand-written conventions: which words settle the transform, which do not, and what the keys
become.
"""

import numpy as np
import pytest

from symdiag.errors import InputError, UnsupportedError
from symdiag.formats import interpret, to_raw
from symdiag.formats.interface import RawCheckpoint, ReadOptions
from symdiag.formats.state_dict import tidy

STORED = np.array([[0.5, 0.25], [0.125, 1.0]])
MEAN = np.array([[1.0, -2.0], [3.0, -4.0]])


def read(tree, scale_transform=None):
    return interpret(RawCheckpoint("net.pt", "0", "torch-zip", tree), ReadOptions(scale_transform))


LOG = np.exp(STORED)
SETTLED = [
    ("l.weight_mu", "l.weight_log_sigma", LOG),
    ("l.weight_mu", "l.weight_logsigma", LOG),
    ("l.weight_mean", "l.weight_log_std", LOG),
    ("l.weight_mu", "l.weight_logstd", LOG),
    ("l.weight_loc", "l.weight_log_sd", LOG),
    ("l.mu_w", "l.log_sigma_w", LOG),
    ("l.mu_weight", "l.logstd_weight", LOG),
    ("l.weight.mu", "l.weight.log_sigma", LOG),
    ("l.weight_mu", "l.weight_logvar", np.sqrt(LOG)),
    ("l.weight_mu", "l.weight_log_var", np.sqrt(LOG)),
    ("l.weight_mean", "l.logvar_weight", np.sqrt(LOG)),
    ("l.weight", "l.weight_logvar", np.sqrt(LOG)),
    ("l.weight", "l.logvar_weight", np.sqrt(LOG)),
    ("l.weight_mean", "l.weight_std", STORED),
    ("l.weight_mu", "l.weight_stddev", STORED),
    ("l.weight_loc", "l.weight_scale", STORED),
    ("l.weight_mean", "l.weight_var", np.sqrt(STORED)),
    ("l.W_mu", "l.W_variance", np.sqrt(STORED)),
    ("mu.l.weight", "logvar.l.weight", np.sqrt(LOG)),
    ("mean_l.weight", "log_std_l.weight", LOG),
    ("l.weight_mu", "l.weight_sigma2", np.sqrt(STORED)),
    ("l.weight_mu", "l.weight_log_sigma2", np.sqrt(LOG)),
    ("l.weight_mu", "l.weight_std_dev", STORED),
    ("l.weight_loc", "l.weight_untransformed_scale", np.log1p(np.exp(STORED))),
    ("l.weightMu", "l.weightLogSigma", LOG),
    ("l.muWeight", "l.logVarWeight", np.sqrt(LOG)),
    ("l.wmu", "l.wlogsig", LOG),
    ("l.Wmu", "l.Wrho", np.log1p(np.exp(STORED))),
    ("l.muW", "l.stdW", STORED),
    ("l_mu_w", "l_logvar_w", np.sqrt(LOG)),
    ("l_wmu", "l_wstd", STORED),
    ("l.weight_means", "l.weight_stds", STORED),
    ("l.weight_mu", "l.weight_ln_var", np.sqrt(LOG)),
    ("l.weight", "l.weight_std", STORED),
    ("l.W", "l.W_rho", np.log1p(np.exp(STORED))),
]


@pytest.mark.parametrize(("loc", "scale", "std"), SETTLED)
def test_words_that_settle_the_transform(loc, scale, std):
    posterior = read({loc: MEAN, scale: STORED})
    assert posterior.names == ("l.weight",)
    np.testing.assert_array_equal(posterior.loc["l.weight"], MEAN)
    np.testing.assert_allclose(posterior.scale["l.weight"], std, rtol=1e-14)
    assert (to_raw(posterior).tree[scale] == STORED).all()


@pytest.mark.parametrize(
    ("loc", "scale"),
    [
        ("l.weight_mu", "l.weight_sigma"),
        ("l.weight_mean", "l.weight_sigma"),
        ("l.w_mu", "l.w_sigma"),
        ("l.weight_mean", "l.weight_scale"),  # negative: no std as it stands
        ("l.weight_mean", "l.weight_std"),
    ],
)
def test_words_that_do_not(loc, scale):
    tree = {loc: MEAN, scale: STORED - 2.0}
    with pytest.raises(UnsupportedError) as error:
        read(tree)
    assert error.value.code == "ambiguous-scale-transform"
    assert "--scale-transform" in error.value.hint
    softplus = np.log1p(np.exp(STORED - 2.0))
    assert f"softplus: σ in [{softplus.min():.3g}, {softplus.max():.3g}]" in error.value.message
    assert f"exp: σ in [{np.exp(-1.875):.3g}, {np.exp(-1.0):.3g}]" in error.value.message
    assert "identity" not in error.value.message
    np.testing.assert_allclose(read(tree, "softplus").scale["l.weight"], softplus)
    np.testing.assert_allclose(read(tree, "exp").scale["l.weight"], np.exp(STORED - 2.0))


@pytest.mark.parametrize(
    ("loc", "scale"),
    [("l.weight_mu", "l.weight_rho"), ("l.W_mean", "l.W_rho"), ("l.mu_w", "l.rho_w")],
)
def test_a_rho_is_softplus_and_said_to_be(loc, scale):
    posterior = read({loc: MEAN, scale: STORED - 2.0})
    np.testing.assert_allclose(
        posterior.scale["l.weight"], np.log1p(np.exp(STORED - 2.0)), rtol=1e-13
    )
    assert any("softplus(rho)" in note and "Blundell" in note for note in posterior.source.notes)
    told = read({loc: MEAN, scale: STORED - 2.0}, "exp")
    np.testing.assert_allclose(told.scale["l.weight"], np.exp(STORED - 2.0), rtol=1e-13)
    assert not any("Blundell" in note for note in told.source.notes)


@pytest.mark.parametrize(("shift", "asked"), [(-5.0, False), (-2.0, True)])
def test_what_is_open_is_asked_only_where_the_stds_differ(shift, asked):
    """exp(r) / log(1 + exp(r)) = 1 + exp(r)/2 + O(exp(2r)): below 1 % at r = -4, not at -1."""
    largest = np.exp(STORED.max() + shift)
    assert (largest / np.log1p(largest) - 1.0 > 0.01) == asked
    tree = {"l.weight_mu": MEAN, "l.weight_sigma": STORED + shift}
    if asked:
        with pytest.raises(UnsupportedError):
            read(tree)
        return
    posterior = read(tree)
    np.testing.assert_allclose(posterior.scale["l.weight"], np.exp(STORED + shift), rtol=0.01)
    assert any("same stds to" in note for note in posterior.source.notes)


def test_identity_is_a_candidate_where_all_values_are_positive():
    tree = {"l.weight_mu": MEAN, "l.weight_sigma": STORED}
    with pytest.raises(UnsupportedError) as error:
        read(tree)
    assert "identity: σ in [0.125, 1]" in error.value.message
    np.testing.assert_array_equal(read(tree, "identity").scale["l.weight"], STORED)


def test_the_range_covers_all_ambiguous_tensors():
    tree = {
        "a.weight_mu": MEAN,
        "a.weight_sigma": STORED,
        "b.weight_mu": MEAN,
        "b.weight_sigma": STORED - 9.0,
    }
    with pytest.raises(UnsupportedError) as error:
        read(tree)
    assert f"[{np.log1p(np.exp(-8.875)):.3g}, {np.log1p(np.exp(1.0)):.3g}]" in error.value.message
    assert "1 more" in error.value.message


def test_a_std_that_is_negative_is_refused_and_may_be_named_a_rho():
    tree = {"l.weight_mean": MEAN, "l.weight_sd": STORED - 3.0}
    with pytest.raises(InputError) as error:
        read(tree)
    assert error.value.code == "ambiguous-scale-transform"
    np.testing.assert_allclose(
        read(tree, "softplus").scale["l.weight"], np.log1p(np.exp(STORED - 3.0))
    )


def test_layers_whose_whole_name_is_the_base():
    posterior = read({"fc1.mu": MEAN, "fc1.logvar": STORED})
    np.testing.assert_allclose(posterior.scale["fc1"], np.exp(STORED / 2))


@pytest.mark.parametrize(
    "tree",
    [
        {"enc.fc_mu.weight": MEAN, "enc.fc_logvar.weight": MEAN},  # a VAE's two heads
        {"policy.weight": MEAN, "log_std": np.zeros(2)},  # a policy's exploration noise
        {"bn.running_mean": np.ones(2), "bn.running_var": np.ones(2), "bn.weight": np.ones(2)},
        {"fc.weight": MEAN, "fc.weight_scale": np.ones(1)},  # quantised weights
        {"pixel_mean": np.ones(3), "fc.weight": MEAN},
    ],
)
def test_look_alikes_are_no_posteriors(tree):
    with pytest.raises(UnsupportedError) as error:
        read(tree)
    assert error.value.code == "no-scales-found"


def test_a_lone_mean_among_pairs():
    tree = {"a.weight_mu": MEAN, "a.weight_logvar": STORED, "b.weight_mu": MEAN}
    with pytest.raises(InputError) as error:
        read(tree)
    assert error.value.code == "missing-scale"
    assert "b.weight_logvar" in error.value.message


def test_a_mean_that_is_no_weight_s_is_ignored():
    tree = {"a.weight_mu": MEAN, "a.weight_log_sigma": STORED, "pixel_mean": np.ones(3)}
    posterior = read(tree)
    assert posterior.names == ("a.weight",)
    assert [item.key for item in posterior.source.ignored] == ["pixel_mean"]


def test_a_prior_kept_as_two_numbers():
    tree = {
        "prior_mu": np.array(0.5),
        "prior_std": np.array(2.0),
        "a.weight_mu": MEAN,
        "a.weight_logvar": STORED,
    }
    prior = read(tree).prior
    assert prior.loc["a.weight"] == 0.5
    assert prior.scale["a.weight"] == 2.0
    assert read({**tree, "prior_std": np.array(0.0)}).prior is None


def test_priors_of_full_size_are_not_read_as_posteriors():
    tree = {
        "a.weight_mu": MEAN,
        "a.weight_logvar": STORED,
        "a.prior_weight_mu": MEAN,
        "a.prior_weight_logvar": STORED,
    }
    posterior = read(tree)
    assert posterior.num_parameters == 4
    assert len(posterior.source.ignored) == 2


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("fc1.W", "fc1.weight"),
        ("fc1.b", "fc1.bias"),
        ("fc1_w", "fc1.weight"),
        ("fc1_bias", "fc1.bias"),
        ("w2", "w2"),
        ("net.b_10", "net.b_10"),
        ("net$$$fc.kernel", "net.fc.weight"),
        ("attn.in_proj_weight", "attn.in_proj_weight"),
        ("lstm.weight_ih_l0", "lstm.weight_ih_l0"),
        ("0.weight", "0.weight"),
    ],
)
def test_names(key, name):
    assert tidy(key) == name


def test_words_like_a_library_s_over_tensors_its_layers_lack_leave_nothing_unread():
    """Weights and biases alone would be torchbnn's; the recurrent and attention weights beside them
    tell it is not.
    """
    parts = {
        "rnn.weight_ih_l0": (8, 3),
        "rnn.weight_hh_l0": (8, 2),
        "att.in_proj_weight": (6, 2),
        "fc.weight": (1, 2),
        "fc.bias": (1,),
    }
    rng = np.random.default_rng(0)
    tree = {}
    for name, shape in parts.items():
        tree |= {f"{name}_mu": rng.normal(size=shape), f"{name}_log_sigma": rng.normal(size=shape)}
    posterior = read(tree)
    assert posterior.shapes == parts
    assert posterior.source.ignored == ()
    np.testing.assert_allclose(
        posterior.scale["rnn.weight_hh_l0"], np.exp(tree["rnn.weight_hh_l0_log_sigma"])
    )
    weights_only = {key: value for key, value in tree.items() if key.startswith("fc.")}
    assert read(weights_only).source.dialect == "torchbnn"


def test_a_whole_layer_in_one_loose_spelling():
    """Weights and biases pair up each with its own scale, vectors too."""
    for weight, bias in (
        ("w{}", "b{}"),
        ("weight{}", "bias{}"),
        ("{}W", "{}B"),
        ("l_{}_w", "l_{}_b"),
    ):
        words = ("Mu", "Rho") if weight[0] != "l" else ("mu", "rho")
        keys = [part.format(word) for part in (weight, bias) for word in words]
        values = (MEAN, STORED, MEAN[0], STORED[0])
        prefix = "" if weight[0] == "l" else "l."
        posterior = read({f"{prefix}{k}": v for k, v in zip(keys, values, strict=True)})
        assert posterior.names == ("l.weight", "l.bias"), keys
        np.testing.assert_array_equal(posterior.loc["l.bias"], MEAN[0])


@pytest.mark.parametrize("word", ["scale", "var"])
def test_a_gain_or_a_running_square_beside_a_plain_weight_is_no_scale(word):
    with pytest.raises(InputError, match="no scales found"):
        read({"l.weight": MEAN, f"l.weight_{word}": STORED})


def test_a_vector_beside_a_plain_vector_is_no_scale_by_itself():
    """LayerNorms have a ``bias``; somebody's ``bias_std`` alone makes no posterior."""
    with pytest.raises(InputError, match="no scales found"):
        read({"l.weight": MEAN, "l.bias": MEAN[0], "l.bias_std": STORED[0]})


LAYERS = {
    f"fc{k}.{part}_{word}": np.full(shape if part == "weight" else shape[:1], value)
    for k, shape in ((1, (5, 3)), (2, (2, 5)))
    for part in ("weight", "bias")
    for word, value in (("mu", 1.0), ("rho", -3.0))
}


@pytest.mark.parametrize(
    "names",
    [
        ("x_mean", "x_std"),
        ("scaler.mean", "scaler.scale"),
        ("normalizer._mean", "normalizer._std"),
        ("xMeans", "xStds"),
        ("y_mu", "y_sigma"),
        ("norm.mean", "norm.var"),
    ],
)
@pytest.mark.parametrize("shape", [(3,), (1, 3), ()])
def test_mean_and_std_of_the_data_are_no_layer(names, shape):
    data = {names[0]: np.ones(shape), names[1]: np.ones(shape)}
    posterior = read(LAYERS | data)
    assert set(posterior.names) == {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}
    assert {item.key for item in posterior.source.ignored} >= set(names)
    written = to_raw(posterior).tree
    assert set(written) == set(LAYERS | data)
    plain = {key.replace("_mu", ""): v for key, v in LAYERS.items() if key.endswith("_mu")}
    with pytest.raises(InputError, match="deterministic"):
        read(plain | data)


def test_mean_and_std_of_the_data_in_the_words_of_the_weights():
    tree = {"w_mean": MEAN, "w_std": STORED, "b_mean": MEAN[0], "b_std": STORED[0]}
    data = {"x_mean": MEAN[1], "x_std": STORED[1], "y_mean": np.array(0.0), "y_std": np.array(1.0)}
    assert set(read(tree | data).names) == {"weight", "bias"}
