"""Several posteriors in one file, flat vectors, and means beside scales: nothing is chosen in
silence.
"""

import copy

import numpy as np
import pytest

from symdiag.errors import UnsupportedError, UsageError
from symdiag.formats import interpret, load, save, to_raw
from symdiag.formats.interface import RawCheckpoint, ReadOptions
from symdiag.formats.reading import write_raw

SHAPES = {"0.weight": (3, 2), "0.bias": (3,), "2.weight": (1, 3), "2.bias": (1,)}
D = 13
REAL = {"__class__": "torch.distributions.constraints._Real"}
POSITIVE = {"__class__": "torch.distributions.constraints._GreaterThan", "lower_bound": 0.0}
SOFTPLUS = {"__class__": "pyro.distributions.constraints._SoftplusPositive"}


def arrays(seed, low=-1.0, high=1.0):
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(low, high, shape) for name, shape in SHAPES.items()}


def raw(tree, **more):
    return RawCheckpoint("a.pt", "0", "torch-zip", tree, **more)


def read(tree, **options):
    return interpret(raw(tree), ReadOptions(**options))


def refused(tree, **options):
    with pytest.raises(UnsupportedError) as error:
        read(tree, **options)
    return error.value


def store(params, constraint=POSITIVE):
    scales = {key for key in params if "scale" in key}
    return {
        "params": params,
        "constraints": {k: constraint if k in scales else REAL for k in params},
    }


def sites(seed, prefix="net_guide."):
    means, logs = arrays(seed), arrays(seed + 1, -4, -1)
    return {
        f"{prefix}{name}.{word}": values[name]
        for name in SHAPES
        for word, values in (("loc", means), ("scale", logs))
    }


def flat(seed, prefix="net_guide."):
    rng = np.random.default_rng(seed)
    return {
        f"{prefix}loc": rng.normal(size=D),
        f"{prefix}scale": rng.uniform(-4, -1, D),
        f"{prefix}cov_factor": rng.normal(size=(D, 2)),
    }


STALE = {**sites(1), **flat(3)}


def test_two_guides_in_one_store_are_named_and_none_is_taken():
    error = refused(store(STALE))
    assert error.code == "several-posteriors"
    assert "net_guide:flat" in error.message
    assert "cov_factor" in error.message
    assert "net_guide:sites" in error.message
    assert "--member net_guide:flat or --member net_guide:sites" in error.hint


def test_the_flat_guide_chosen_has_its_factor_and_asks_for_shapes():
    assert refused(store(STALE), member="net_guide:flat").code == "needs-model-shapes"
    posterior = read(store(STALE), member="net_guide:flat", model_shapes=SHAPES)
    s, factor = np.exp(STALE["net_guide.scale"]), STALE["net_guide.cov_factor"]
    expected = np.outer(s, s) * (factor @ factor.T) + np.diag(s**2)
    found = posterior.covariance.factor @ posterior.covariance.factor.T
    np.testing.assert_allclose(found + np.diag(posterior.covariance.diagonal), expected, rtol=1e-12)
    left_out = {item.key: item.reason for item in posterior.source.ignored}
    other = "net_guide:sites (4 tensors, net_guide.0.weight.loc the first)"
    assert left_out[other] == "another posterior of the file"
    assert posterior.source.metadata["symdiag.member"] == "net_guide:flat"


def test_the_guide_of_sites_chosen_is_the_one_read_alone():
    chosen, alone = read(store(STALE), member="net_guide:sites"), read(store(sites(1)))
    assert chosen.names == alone.names == tuple(SHAPES)
    for name in SHAPES:
        np.testing.assert_array_equal(chosen.scale[name], alone.scale[name])
    assert any("cov_factor" in item.key for item in chosen.source.ignored)


@pytest.mark.parametrize("member", ["net_guide:flat", "net_guide:sites"])
def test_writing_one_guide_leaves_the_other_as_it_was(member):
    tree = store(copy.deepcopy(STALE))
    posterior = read(tree, member=member, model_shapes=SHAPES)
    loc = {name: values + 1.0 for name, values in posterior.loc.items()}
    new = to_raw(posterior.replace(loc=loc)).tree["params"]
    for key in STALE:
        mine = ("0" in key or "2" in key) == (member == "net_guide:sites")
        assert np.array_equal(new[key], STALE[key]) == (not (mine and key.endswith("loc")))


def test_guides_of_different_names_go_by_these():
    params = {
        **{f"AutoDiagonalNormal.{k}": v for k, v in flat(1, "").items() if k != "cov_factor"},
        **{f"AutoNormal.{w}s.{n}": v for w in ("loc", "scale") for n, v in arrays(2).items()},
    }
    error = refused(store(params, SOFTPLUS))
    assert error.code == "several-posteriors"
    assert "--member AutoDiagonalNormal or --member AutoNormal" in error.hint
    posterior = read(store(params, SOFTPLUS), member="AutoNormal")
    expected = np.log1p(np.exp(params["AutoNormal.scales.0.weight"]))
    np.testing.assert_allclose(posterior.scale["0.weight"], expected)


def test_guides_over_the_same_sites_are_alternatives_and_over_different_ones_are_not():
    def auto(prefix, names):
        values = arrays(len(prefix))
        return {f"{prefix}.{w}s.{n}": values[n] for w in ("loc", "scale") for n in names}

    twice = {**auto("a", SHAPES), **auto("bb", SHAPES)}
    assert refused(store(twice, SOFTPLUS)).code == "several-posteriors"
    parts = {**auto("list.0", ["0.weight", "0.bias"]), **auto("list.1", ["2.weight", "2.bias"])}
    assert read(store(parts, SOFTPLUS)).names == tuple(SHAPES)


def test_a_point_estimate_left_in_the_store_is_no_layer():
    points = {f"AutoDelta.{name}": values for name, values in arrays(9).items()}
    posterior = read(store({**points, **sites(1)}))
    assert posterior.names == tuple(SHAPES)
    assert {item.key for item in posterior.source.ignored} >= points.keys()


def test_a_flat_guide_is_never_one_weight():
    """Whatever makes its scale positive, or if nothing says so."""
    params = {k: v for k, v in flat(5).items() if k != "net_guide.cov_factor"}
    interval = {
        "__class__": "torch.distributions.constraints._Interval",
        "lower_bound": 0.0,
        "upper_bound": 1.0,
    }
    for tree in (store(params), store(params, SOFTPLUS), store(params, interval), dict(params)):
        assert refused(tree, scale_transform="exp").code == "needs-model-shapes"
    posterior = read(store(params), model_shapes=SHAPES)
    std = np.concatenate([v.reshape(-1) for v in posterior.scale.values()])
    np.testing.assert_allclose(std, np.exp(params["net_guide.scale"]), rtol=1e-14)


def test_a_bias_of_named_sites_is_no_flat_guide():
    params = {
        "w1.loc": np.ones((2, 3)),
        "w1.scale": np.zeros((2, 3)),
        "b1.loc": np.ones(3),
        "b1.scale": np.zeros(3),
    }
    assert read(store(params)).names == ("w1", "b1")


MEANS, STDS = arrays(7), arrays(8, 0.1, 0.5)


@pytest.mark.parametrize(
    ("words", "stored", "asked"),
    [
        (("loc", "scale"), lambda s: s, False),
        (("mean", "std"), lambda s: s, False),
        (("mu", "sigma"), lambda s: s, True),
        (("mu", "log_sigma"), np.log, False),
        (("mean", "logvar"), lambda s: 2 * np.log(s), False),
        (("mean", "var"), np.square, False),
        (("mu", "rho"), lambda s: np.log(np.expm1(s)), False),
        (("posterior_mean", "posterior_std"), lambda s: s, False),
        (("means", "stds"), lambda s: s, False),
        (("mus", "log_variances"), lambda s: 2 * np.log(s), False),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_means_beside_scales(words, stored, asked, wrapped):
    tree = {words[0]: MEANS, words[1]: {name: stored(s) for name, s in STDS.items()}, "step": 3}
    tree = {"result": tree, "optimizer": {"state": {0: np.ones((3, 2))}}} if wrapped else tree
    if asked:
        assert refused(tree).code == "ambiguous-scale-transform"
    posterior = read(tree, scale_transform="identity" if asked else None)
    assert posterior.source.dialect == "parallel-trees"
    for name in SHAPES:
        np.testing.assert_array_equal(posterior.loc[name], MEANS[name])
        np.testing.assert_allclose(posterior.scale[name], STDS[name], rtol=1e-12)


def test_vectors_of_means_and_stds_ask_for_shapes():
    mean, std = (np.concatenate([v.reshape(-1) for v in part.values()]) for part in (MEANS, STDS))
    assert refused({"mean": mean, "std": std}).code == "needs-model-shapes"
    posterior = read({"mean": mean, "std": std}, model_shapes=SHAPES)
    for name in SHAPES:
        np.testing.assert_array_equal(posterior.scale[name], STDS[name])


def test_the_mean_and_std_of_a_network_s_inputs_are_no_posterior():
    inputs = {"mean": np.ones(2), "std": np.ones(2)}
    assert refused({"weights_of_the_net": MEANS, **inputs}).code == "no-scales-found"
    pairs = {f"{n}_{w}": v for n in SHAPES for w, v in (("mu", MEANS[n]), ("std", STDS[n]))}
    assert read({"state_dict": pairs, **inputs}).names == tuple(SHAPES)


def listed(count=3):
    return [{"loc": arrays(i), "scale": arrays(i + 20, 0.1, 1.0)} for i in range(count)]


@pytest.mark.parametrize(
    "build",
    [
        listed,
        lambda: {"models": listed(), "epoch": 1},
        lambda: {f"seed{i}": entry for i, entry in enumerate(listed())},
        lambda: [
            {f"{n}_{w}": e[k][n] for n in SHAPES for w, k in (("mu", "loc"), ("std", "scale"))}
            for e in listed()
        ],
    ],
    ids=["list", "in a dict", "dict", "state dicts"],
)
def test_every_posterior_of_a_collection_can_be_read(build, tmp_path):
    tree = build()
    error = refused(tree)
    assert error.code == "several-posteriors"
    assert "3 posteriors" in error.message
    names = [word for word in error.hint.split() if word in {*"012", "seed0", "seed1", "seed2"}]
    assert len(names) == 3
    write_raw(raw(tree), tmp_path / "a.pt")
    for i, name in enumerate(names):
        posterior = load(tmp_path / "a.pt", member=name)
        for tensor in SHAPES:
            np.testing.assert_array_equal(posterior.scale[tensor], listed()[i]["scale"][tensor])
    moved = posterior.replace(loc={n: v + 1.0 for n, v in posterior.loc.items()})
    save(moved, tmp_path / "b.pt")
    for i, name in enumerate(names):
        again = load(tmp_path / "b.pt", member=name)
        for tensor in SHAPES:
            expected = listed()[i]["loc"][tensor] + (i == 2)
            np.testing.assert_array_equal(again.loc[tensor], expected)


def test_a_list_of_flat_posteriors():
    entries = [
        {"w_avg": np.zeros(D) + i, "w2_avg": np.ones(D) + i**2, "pre_D": np.ones((D, 4)) * i}
        for i in range(2)
    ]
    assert refused(entries).code == "several-posteriors"
    posterior = read(entries, member="1", model_shapes=SHAPES)
    assert posterior.source.dialect == "swag-flat"
    np.testing.assert_array_equal(posterior.loc["0.bias"], 1.0)


def test_the_sidecar_may_name_the_member(tmp_path):
    write_raw(raw(listed()), tmp_path / "a.pt")
    (tmp_path / "a.pt.symdiag.json").write_text('{"member": "1"}', encoding="utf-8")
    expected = listed()[1]["loc"]["0.weight"]
    np.testing.assert_array_equal(load(tmp_path / "a.pt").loc["0.weight"], expected)


@pytest.mark.parametrize(("tree", "says"), [(listed(), "0, 1, 2"), (listed()[0], "one posterior")])
def test_a_member_that_is_not_there(tree, says):
    with pytest.raises(UsageError) as error:
        read(tree, member="7")
    assert error.value.code == "unknown-member"
    assert says in error.value.message


def test_parts_of_one_network_are_no_members():
    """Layers of one shape, and an encoder beside a decoder: one posterior, as before."""
    matrices = {f"w_{word}": np.ones((3, 3)) for word in ("mu", "std")}
    layer = {**matrices, **{f"b_{word}": np.ones(3) for word in ("mu", "std")}}
    assert len(read({"fc1": dict(layer), "fc2": dict(layer)}).names) == 4
    assert len(read([dict(layer), dict(layer)]).names) == 4
    half = {f"{i}.weight_{w}": np.ones((i + 2, 3)) for i in range(2) for w in ("mu", "std")}
    other = {f"{i}.weight_{w}": np.ones((i + 5, 3)) for i in range(2) for w in ("mu", "std")}
    assert len(read({"encoder": half, "decoder": other}).names) == 4


def test_tied_tensors_and_foreign_dtypes_stay_with_their_member():
    tree = listed()
    foreign = {f"{i}.loc.0.weight": "bfloat16" for i in range(3)}
    checkpoint = raw(
        tree,
        foreign_dtypes=foreign,
        tied=(("0.loc.0.bias", "1.loc.0.bias"), ("2.loc.0.bias", "2.loc.0.bias")),
    )
    posterior = interpret(checkpoint, ReadOptions(member="1"))
    assert posterior.source.tied == ()
    assert any("bfloat16" in note for note in posterior.source.notes)
    assert to_raw(posterior).foreign_dtypes == foreign
