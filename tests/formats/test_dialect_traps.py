"""What goes wrong with real checkpoints, one test each."""

import numpy as np
import pytest
from counted_work import grows_in_proportion

from symdiag.errors import InputError, OutputError, UnsupportedError
from symdiag.formats import interpret, to_raw
from symdiag.formats.interface import RawCheckpoint, ReadOptions
from symdiag.priors import ScaleMixturePrior

RNG = np.random.default_rng(0)


def read(tree, scale_transform=None, **raw):
    return interpret(
        RawCheckpoint("net.pt", "0", "torch-zip", tree, **raw), ReadOptions(scale_transform)
    )


def bbt(**changes):
    """A bayesian-torch state dict of one layer, with changes; a value of None removes the key."""
    tree = {
        "fc1.mu_weight": RNG.normal(size=(4, 3)).astype(np.float32),
        "fc1.rho_weight": np.full((4, 3), -3.0, np.float32),
        "fc1.mu_bias": RNG.normal(size=4).astype(np.float32),
        "fc1.rho_bias": np.full(4, -3.0, np.float32),
    }
    tree |= {key.replace("__", "."): value for key, value in changes.items()}
    return {key: value for key, value in tree.items() if value is not None}


def code_of(tree, **options):
    with pytest.raises(InputError) as error:
        read(tree, **options)
    return error.value


def test_a_mean_without_its_scale():
    error = code_of(bbt(fc1__rho_bias=None))
    assert error.code == "missing-scale"
    assert "fc1.rho_bias" in error.message


def test_a_mean_and_a_scale_of_different_shape():
    error = code_of(bbt(fc1__rho_bias=np.zeros(5, np.float32)))
    assert error.code == "shape-mismatch"
    assert "(4,)" in error.message
    assert "(5,)" in error.message


def test_the_first_bad_value_is_named():
    weights = np.zeros((4, 3), np.float32)
    weights[1, 2] = weights[3, 0] = np.nan
    error = code_of(bbt(fc1__mu_weight=weights))
    assert error.code == "non-finite"
    assert "fc1.mu_weight" in error.message
    assert "2 of 12" in error.message
    assert "[1, 2]" in error.message


@pytest.mark.parametrize("rho", [-1000.0, 4e38])
def test_a_rho_that_gives_no_positive_finite_std(rho):
    tree = {"fc.weight_mu": np.ones((2, 2)), "fc.weight_log_sigma": np.full((2, 2), rho)}
    assert code_of(tree).code == "bad-scale"


def test_a_stored_std_must_be_positive():
    scale = np.ones((2, 2))
    scale[1, 0] = 0.0
    error = code_of({"fc.weight_mean": np.ones((2, 2)), "fc.weight_std": scale})
    assert error.code == "bad-scale"
    assert "[1, 0]" in error.message
    assert "--scale-transform" in error.hint


@pytest.mark.parametrize(
    ("dialect", "loc", "scale"),
    [
        ("pyro", "locs.{}_unconstrained", "scales.{}_unconstrained"),
        ("handwritten", "{}_mu", "{}_logvar"),
        ("swag", "{}_mean", "{}_sq_mean"),
    ],
)
def test_a_latent_without_axes_is_an_array_like_all_others(dialect, loc, scale):
    """A noise std beside the weights, as in Pyro's own regression tutorial."""
    tree = {key.format("noise"): np.array(0.5, np.float32) for key in (loc, scale)}
    tree |= {key.format("fc.weight"): np.full((2, 2), 0.5, np.float32) for key in (loc, scale)}
    posterior = read(tree)
    assert all(isinstance(part["noise"], np.ndarray) for part in (posterior.loc, posterior.scale))
    assert posterior.source.dialect == dialect


def test_a_negative_variance():
    assert (
        code_of({"fc.weight_mu": np.ones(2), "fc.weight_var": np.array([1.0, -1.0])}).code
        == "bad-scale"
    )


def test_a_deterministic_network_is_told_so_with_its_keys_and_a_near_dialect():
    error = code_of(
        {"0.weight": np.ones((3, 2)), "0.bias": np.ones(3), "0.num_batches_tracked": np.array(3)}
    )
    assert error.code == "no-scales-found"
    assert "deterministic" in error.message
    assert "0.weight" in error.message
    assert "Nearest" in error.hint
    assert "symdiag samples" in error.hint


def test_an_empty_tree():
    assert code_of({}).code == "no-scales-found"


def test_deterministic_layers_between_bayesian_ones_have_no_width():
    tree = {"body.weight": np.ones((3, 2)), "body.bias": np.ones(3), **bbt()}
    posterior = read(tree)
    assert list(posterior.names) == ["body.weight", "body.bias", "fc1.weight", "fc1.bias"]
    assert not posterior.scale["body.weight"].any()
    assert posterior.scale["fc1.weight"].all()
    assert any("deterministic" in note for note in posterior.source.notes)


def test_a_deterministic_weight_cannot_be_given_a_std_on_the_way_back():
    posterior = read({"body.weight": np.ones((3, 2)), **bbt()})
    wide = posterior.replace(scale={**posterior.scale, "body.weight": np.ones((3, 2))})
    with pytest.raises(OutputError) as error:
        to_raw(wide)
    assert error.value.code == "cannot-represent"


def test_a_deterministic_mean_is_written_back():
    posterior = read({"body.weight": np.ones((3, 2)), **bbt()})
    moved = posterior.replace(loc={**posterior.loc, "body.weight": np.full((3, 2), 2.0)})
    assert (to_raw(moved).tree["body.weight"] == 2.0).all()


def test_batchnorm_statistics_are_buffers_and_counts_are_ignored():
    stats = {"bn.weight": np.ones(4), "bn.bias": np.zeros(4), "bn.running_mean": np.arange(4.0)}
    stats |= {"bn.running_var": np.arange(1.0, 5.0), "bn.num_batches_tracked": np.array(9)}
    posterior = read({**bbt(), **stats})
    assert set(posterior.buffers) == {"bn.running_mean", "bn.running_var"}
    assert "bn.weight" in posterior.names
    assert any(
        item.key == "bn.num_batches_tracked" and "int64" in item.reason
        for item in posterior.source.ignored
    )
    flipped = posterior.replace(
        buffers={name: value[::-1] for name, value in posterior.buffers.items()}
    )
    assert to_raw(flipped).tree["bn.running_mean"].tolist() == [3.0, 2.0, 1.0, 0.0]


def test_tensors_of_the_weights_shape_that_are_no_weights():
    """Noise draws and priors must not be read as layers, and each is listed."""
    stray = {
        "fc1.eps_weight": np.ones((4, 3)),
        "fc1.eps_bias": np.ones(4),
        "fc1.weight_eps": np.ones((4, 3)),
        "fc1.some_cache": np.ones((4, 3)),
        "fc1.prior_dist.sigmas": np.ones(2),
    }
    posterior = read({**bbt(), **stray})
    assert posterior.num_parameters == 16
    assert {item.key for item in posterior.source.ignored} == set(stray)
    assert any("fc1.some_cache" in note for note in posterior.source.notes)


def test_old_bayesian_torch_files_hold_their_prior():
    prior = {
        "fc1.prior_weight_mu": np.full((4, 3), 0.5),
        "fc1.prior_weight_sigma": np.full((4, 3), 2.0),
    }
    posterior = read({**bbt(), **prior})
    assert (posterior.prior.loc["fc1.weight"] == 0.5).all()
    assert (posterior.prior.scale["fc1.weight"] == 2.0).all()
    assert posterior.prior.loc.keys() == {"fc1.weight"}


def test_a_prior_that_moved_with_its_units_is_written():
    prior = {
        "fc1.prior_weight_mu": np.arange(12.0).reshape(4, 3),
        "fc1.prior_weight_sigma": np.ones((4, 3)),
    }
    posterior = read({**bbt(), **prior})
    moved = type(posterior.prior)(
        {"fc1.weight": posterior.prior.loc["fc1.weight"][::-1]}, dict(posterior.prior.scale)
    )
    assert to_raw(posterior.replace(prior=moved)).tree["fc1.prior_weight_mu"][0].tolist() == [
        9.0,
        10.0,
        11.0,
    ]


def test_a_nonpositive_stored_prior():
    prior = {"fc1.prior_weight_mu": np.zeros((4, 3)), "fc1.prior_weight_sigma": np.zeros((4, 3))}
    assert code_of({**bbt(), **prior}).code == "bad-scale"


def test_transposed_weights_stay_in_the_file_s_layout():
    tree = {
        "l.W_mu": np.arange(15.0).reshape(3, 5), "l.W_p": np.zeros((3, 5)),
        "l.b_mu": np.zeros(5), "l.b_p": np.full(5, -1000.0),
    }  # fmt: skip
    posterior = read(tree)
    assert posterior.loc["l.weight"].shape == (3, 5)
    assert (posterior.scale["l.bias"] == 1e-6).all()
    assert (to_raw(posterior).tree["l.b_p"] == -1000.0).all()


def test_a_blitz_bias_that_no_sampler_uses_is_ignored():
    mean, rho = np.ones((4, 3), np.float32), np.full((4, 3), -5.0, np.float32)
    tree = {
        "l.weight_mu": mean, "l.weight_rho": rho, "l.weight_sampler.mu": mean, "l.weight_sampler.rho": rho,
        "l.bias_mu": mean[:, 0], "l.bias_rho": rho[:, 0],
    }  # fmt: skip
    posterior = read(tree)
    assert list(posterior.names) == ["l.weight"]
    assert {item.key for item in posterior.source.ignored} >= {"l.bias_mu", "l.bias_rho"}


def test_a_blitz_bias_that_was_never_trained_is_named():
    """A linear layer made with bias=False keeps its initial bias, sampler and all: the file cannot
    tell.
    """
    mean, rho = np.ones((4, 3), np.float32), np.full((4, 3), -5.0, np.float32)
    initial = (-7.0 + 0.1 * RNG.standard_normal(4)).astype(np.float32)
    tree = {
        "l.weight_mu": mean, "l.weight_rho": rho, "l.weight_sampler.mu": mean, "l.weight_sampler.rho": rho,
        "l.bias_mu": mean[:, 0], "l.bias_rho": initial, "l.bias_sampler.mu": mean[:, 0], "l.bias_sampler.rho": initial,
    }  # fmt: skip
    assert any("bias of l " in note and "unused" in note for note in read(tree).source.notes)
    trained = {**tree, "l.bias_rho": rho[:, 0], "l.bias_sampler.rho": rho[:, 0]}
    assert not read(trained).source.notes


def test_both_copies_are_written_where_a_library_keeps_two():
    mean, rho = np.ones((4, 3), np.float32), np.full((4, 3), -5.0, np.float32)
    tree = {
        "l.weight_mu": mean,
        "l.weight_rho": rho,
        "l.weight_sampler.mu": mean,
        "l.weight_sampler.rho": rho,
    }
    posterior = read(tree)
    out = to_raw(posterior.replace(loc={"l.weight": 2.0 * posterior.loc["l.weight"]})).tree
    assert (out["l.weight_mu"] == 2.0).all()
    assert (out["l.weight_sampler.mu"] == 2.0).all()


def test_one_parameter_under_two_conventions():
    tree = {
        "fc.mu_weight": np.ones((2, 2)),
        "fc.rho_weight": np.ones((2, 2)),
        "fc.weight": np.ones((2, 2)),
    }
    assert code_of(tree).code == "duplicate-tensor"


def test_data_parallel_and_compile_prefixes_go():
    posterior = read({f"_orig_mod.module.{key}": value for key, value in bbt().items()})
    assert list(posterior.names) == ["fc1.weight", "fc1.bias"]
    assert next(iter(to_raw(posterior).tree)) == "_orig_mod.module.fc1.mu_weight"


def test_bfloat16_is_noted():
    posterior = read(bbt(), foreign_dtypes={"fc1.mu_weight": "bfloat16"})
    assert any("bfloat16" in note for note in posterior.source.notes)


def test_everything_is_computed_in_float64():
    """In float32 log1p(exp(-20)) is already off in the eighth digit; the stored -20 is exact."""
    posterior = read(bbt(fc1__rho_bias=np.full(4, -20.0, np.float32)))
    np.testing.assert_allclose(posterior.scale["fc1.bias"], 2.0611536203e-09, rtol=1e-10)


def test_a_std_the_transform_cannot_reach_is_not_written():
    posterior = read(bbt())
    zero = posterior.replace(scale={name: np.zeros_like(v) for name, v in posterior.scale.items()})
    with pytest.raises(OutputError) as error:
        to_raw(zero)
    assert error.value.code == "cannot-represent"


def test_a_library_s_transform_can_be_overridden():
    posterior = read(bbt(), scale_transform="exp")
    np.testing.assert_allclose(posterior.scale["fc1.bias"], np.exp(-3.0))
    assert posterior.source.scale_transform == "exp"
    assert any(
        "although bayesian-torch means 'softplus'" in note for note in posterior.source.notes
    )
    assert not read(bbt(), scale_transform="softplus").source.notes


def test_a_transform_that_does_not_apply_is_noted():
    group = {"hess": np.ones(6), "ess": 10.0, "weight_decay": 0.5}
    tree = {"model": {"0.weight": np.ones((2, 3))}, "optimizer": {"param_groups": [group]}}
    posterior = read(tree, scale_transform="exp")
    np.testing.assert_allclose(posterior.scale["0.weight"], 15.0**-0.5)
    assert any("not used" in note for note in posterior.source.notes)


def test_copies_that_differ():
    mean, rho = np.ones((4, 3), np.float32), np.full((4, 3), -5.0, np.float32)
    tree = {
        "l.weight_mu": mean,
        "l.weight_rho": rho,
        "l.weight_sampler.mu": mean + 1,
        "l.weight_sampler.rho": rho,
    }
    assert code_of(tree).code == "copies-differ"
    tree = {
        "l.weight_mu": mean,
        "l.weight_rho": rho,
        "l.weight_sampler.mu": mean,
        "l.weight_sampler.rho": rho[:2],
    }
    assert code_of(tree).code == "shape-mismatch"


def test_tied_weights_are_one_tensor():
    """Counted once; written wherever the file holds it; only if the stds are tied as well or there
    is but one.
    """
    mean, rho = np.arange(4.0).reshape(2, 2), np.full((2, 2), -1.0)
    pair = {
        "a.mu_weight": mean,
        "a.rho_weight": rho,
        "b.mu_weight": mean.copy(),
        "b.rho_weight": rho.copy(),
    }
    means, stds = ("a.mu_weight", "b.mu_weight"), ("a.rho_weight", "b.rho_weight")
    tied = read(pair, tied=(means, stds))
    assert tied.names == ("a.weight",)
    assert tied.source.tied == (("a.weight", "b.weight"),)
    assert any("a.weight, b.weight are tied" in note for note in tied.source.notes)
    moved = to_raw(
        tied.replace(loc={"a.weight": mean[::-1]}, scale={"a.weight": 2 * tied.scale["a.weight"]})
    ).tree
    for key in means:
        np.testing.assert_array_equal(moved[key], mean[::-1])
    np.testing.assert_array_equal(moved[stds[0]], moved[stds[1]])
    assert read(pair, tied=(means,)).names == ("a.weight", "b.weight")
    assert read(pair).names == ("a.weight", "b.weight")


def test_a_tied_weight_without_a_std_of_its_own_is_not_deterministic():
    """As a state dict lists it beside a posterior that knows each parameter once."""
    tree = {"a.weight": np.ones((2, 2)), "b.weight": np.ones((2, 2)), **bbt()}
    assert read(tree, tied=(("a.weight", "b.weight"),)).source.tied == (("a.weight", "b.weight"),)
    ivon = {
        "model": {
            "emb.weight": np.ones((3, 2)),
            "dec.weight": np.ones((3, 2)),
            "h.weight": np.ones((2, 2)),
        },
        "optimizer": {"param_groups": [{"hess": np.ones(10), "ess": 4.0, "weight_decay": 0.0}]},
    }
    posterior = read(ivon, tied=(("model.emb.weight", "model.dec.weight"),))
    assert posterior.shapes == {"emb.weight": (3, 2), "h.weight": (2, 2)}
    assert all((scale == 0.5).all() for scale in posterior.scale.values())


@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.complex64])
def test_weights_that_are_no_floats(dtype):
    error = code_of(bbt(fc1__mu_bias=np.ones(4, dtype)))
    assert error.code == "unsupported-dtype"
    assert "fc1.mu_bias" in error.message


def test_student_t_posteriors_are_refused():
    tree = {"0._weight_mean": np.ones((2, 2)), "0._weight_log_scale": np.ones((2, 2))}
    with pytest.raises(UnsupportedError) as error:
        read(tree)
    assert error.value.code == "not-gaussian"


def test_a_torch_blue_variable_without_std_is_deterministic():
    tree = {
        "0._weight_mean": np.ones((2, 2)),
        "0._weight_log_std": np.ones((2, 2)),
        "0._bias_mean": np.ones(2),
    }
    posterior = read(tree)
    assert not posterior.scale["0.bias"].any()


def test_a_mixture_prior_is_read_as_a_mixture():
    mean = np.ones((2, 2))
    tree = {
        "0.weight_mu": mean,
        "0.weight_sigma": -mean,
        "0.weight_sampler.mu": mean,
        "0.weight_sampler.rho": -mean,
    }
    mixture = {
        "0.weight_prior_dist.pi": np.array([0.5, 0.5]),
        "0.weight_prior_dist.mus": np.zeros(2),
    }
    mixture["0.weight_prior_dist.sigmas"] = np.array([0.1, 0.4])
    prior = read({**tree, **mixture}).prior
    assert isinstance(prior, ScaleMixturePrior)
    assert prior.components == {"0.weight": ((0.5, 0.1), (0.5, 0.4))}
    assert read(tree).prior is None


@pytest.mark.parametrize(
    ("loc", "scale"),
    [
        ("locs.{}_unconstrained", "scales.{}_unconstrained"),
        ("{}.loc_unconstrained", "{}.scale_unconstrained"),
    ],
)
def test_thousands_of_tensors_take_time_in_proportion(loc, scale):
    """A search through the whole file for each tensor would take a minute for 3000."""
    value = np.full((2, 2), 0.5, np.float32)

    def reading(count):
        tree = {key.format(f"l{i}.weight"): value for i in range(count) for key in (loc, scale)}
        return lambda: read(tree)

    assert len(reading(400)().names) == 400
    assert grows_in_proportion(reading, 200)
