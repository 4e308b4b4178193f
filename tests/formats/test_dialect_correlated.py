"""Posteriors with correlations or flat vectors: Pyro's guides, Laplace's curvatures, SWAG's
deviations, IVON.
"""

import numpy as np
import pytest
from scipy.linalg import block_diag

from symdiag.errors import InputError, OutputError, UnsupportedError
from symdiag.formats import interpret, to_raw
from symdiag.formats.covariance import kron_variances
from symdiag.formats.interface import RawCheckpoint, ReadOptions
from symdiag.formats.loading import companion_to_raw
from symdiag.posterior import Covariance

SHAPES = {"0.weight": (3, 2), "0.bias": (3,), "2.weight": (1, 3), "2.bias": (1,)}
SIZES = [6, 3, 3, 1]
D = 13
RNG = np.random.default_rng(3)
MEANS = {name: RNG.normal(size=shape) for name, shape in SHAPES.items()}
FLAT = np.concatenate([m.reshape(-1) for m in MEANS.values()])
RHO = RNG.uniform(-3, 0, D)
S = np.log1p(np.exp(RHO))


def raw(tree):
    return RawCheckpoint("a.pt", "0", "torch-zip", tree)


def read(tree, **options):
    return interpret(raw(tree), ReadOptions(**options))


def matrix(posterior):
    return posterior.covariance.factor @ posterior.covariance.factor.T + np.diag(
        posterior.covariance.diagonal
    )


def spd(n):
    root = RNG.normal(size=(n, n))
    return root @ root.T + 0.1 * np.eye(n)


def low_rank():
    factor = RNG.normal(size=(D, 2))
    tree = {"loc": FLAT, "scale_unconstrained": RHO, "cov_factor": factor}
    return tree, np.outer(S, S) * (factor @ factor.T) + np.diag(S**2), {"model_shapes": SHAPES}


def multivariate():
    tril = np.tril(RNG.normal(size=(D, D)), -1)
    lower = S[:, None] * (tril + np.eye(D))
    tree = {
        "loc": FLAT,
        "scale_unconstrained": RHO,
        "scale_tril_unconstrained": tril + np.triu(np.full((D, D), 9.0), 1),
    }
    return tree, lower @ lower.T, {"model_shapes": SHAPES}


def laplace(kind, curvature, dense, pp=1.7, **more):
    noise, temperature = 0.4, 1.5
    tree = {
        "mean": FLAT, "H": curvature, "prior_mean": 0.0, "prior_precision": np.atleast_1d(np.asarray(pp, float)),
        "sigma_noise": np.array(noise), "temperature": temperature, "cls_name": kind, **more,
    }  # fmt: skip
    deltas = np.asarray(pp, float)
    deltas = np.repeat(deltas, SIZES) if deltas.size == 4 else np.broadcast_to(deltas, D)
    precision = dense / (noise**2 * temperature) + np.diag(deltas)
    return tree, np.linalg.inv(precision), {"companion": raw(dict(MEANS))}


def laplace_full():
    curvature = spd(D)
    return laplace("FullLaplace", curvature, curvature)


def laplace_kron(pp=1.7):
    blocks = [[spd(3), spd(2)], [spd(3)], [spd(1), spd(3)], [spd(1)]]
    dense = block_diag(*(np.kron(*b) if len(b) == 2 else b[0] for b in blocks))
    return laplace("KronLaplace", blocks, dense, pp)


def laplace_kron_per_layer():
    return laplace_kron([0.5, 1.0, 2.0, 4.0])


def swag():
    tree, variances, deviations = {}, [], []
    for name, mean in MEANS.items():
        variance, rows = RNG.uniform(0.1, 1, mean.shape), RNG.normal(size=(5, mean.size))
        tree |= {
            f"{name}_mean": mean,
            f"{name}_sq_mean": mean**2 + variance,
            f"{name}_cov_mat_sqrt": rows,
        }
        variances.append(variance.reshape(-1))
        deviations.append(rows)
    rows = np.concatenate(deviations, axis=1)
    return tree, 0.5 * (rows.T @ rows / 4 + np.diag(np.concatenate(variances))), {}


def low_rank_in_a_store():
    """TyXe's: the constraint is that of exp."""
    s, factor = np.exp(RHO), RNG.normal(size=(D, 2))
    params = {"net_guide.loc": FLAT, "net_guide.scale": RHO, "net_guide.cov_factor": factor}
    real = {"__class__": "torch.distributions.constraints._Real"}
    above = {"__class__": "torch.distributions.constraints._GreaterThan", "lower_bound": 0.0}
    tree = {
        "params": params,
        "constraints": {key: above if key.endswith(".scale") else real for key in params},
    }
    return tree, np.outer(s, s) * (factor @ factor.T) + np.diag(s**2), {"model_shapes": SHAPES}


def low_rank_of_constrained_values():
    """``pyro.param`` gives the scale itself."""
    factor = RNG.normal(size=(D, 2))
    tree = {"guide.loc": FLAT, "guide.scale": S, "guide.cov_factor": factor}
    return tree, np.outer(S, S) * (factor @ factor.T) + np.diag(S**2), {"model_shapes": SHAPES}


def swag_flat():
    """Iterates as they were, one column each; eq. 1 of SWAG takes the mean of all iterates off."""
    variance, iterates = RNG.uniform(0.1, 1, D), FLAT[:, None] + RNG.normal(size=(D, 5))
    tree = {"w_avg": FLAT, "w2_avg": FLAT**2 + variance, "pre_D": iterates}
    deviations = iterates - FLAT[:, None]
    covariance = 0.5 * (deviations @ deviations.T / 4 + np.diag(variance))
    return tree, covariance, {"model_shapes": SHAPES}


def swag_flat_with_deviations():
    variance, rows = RNG.uniform(0.1, 1, D), RNG.normal(size=(5, D))
    tree = {"mean": FLAT, "sq_mean": FLAT**2 + variance, "cov_mat_sqrt": rows}
    return tree, 0.5 * (rows.T @ rows / 4 + np.diag(variance)), {"model_shapes": SHAPES}


MAKERS = [
    low_rank,
    low_rank_in_a_store,
    low_rank_of_constrained_values,
    multivariate,
    laplace_full,
    laplace_kron,
    laplace_kron_per_layer,
    swag,
    swag_flat,
    swag_flat_with_deviations,
]


@pytest.fixture(params=MAKERS, ids=lambda make: make.__name__)
def case(request):
    tree, covariance, options = request.param()
    return tree, covariance, options, read(tree, **options)


def test_covariance_is_the_documented_one(case):
    _, covariance, _, posterior = case
    np.testing.assert_allclose(matrix(posterior), covariance, rtol=1e-8, atol=1e-10)
    marginal = np.concatenate(
        [posterior.scale[name].reshape(-1) for name in posterior.covariance.order]
    )
    np.testing.assert_allclose(marginal, np.sqrt(np.diag(covariance)), rtol=1e-8)
    assert posterior.covariance.order == tuple(SHAPES)


def test_sampling_has_that_covariance(case):
    _, covariance, _, posterior = case
    draws = posterior.sample(np.random.default_rng(0), 20000)
    flat = np.concatenate([draws[name].reshape(20000, -1) for name in SHAPES], axis=1)
    spread = np.sqrt(np.diag(covariance))
    correlation = np.cov(flat.T) / np.outer(spread, spread)
    np.testing.assert_allclose(correlation, covariance / np.outer(spread, spread), atol=0.06)


def test_unchanged_it_is_written_to_the_bit(case):
    tree, _, _, posterior = case
    for (key, new), old in zip(to_raw(posterior).tree.items(), tree.values(), strict=True):
        for a, b in zip(flattened(new), flattened(old), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=key)


def flattened(thing):
    if isinstance(thing, list):
        return [array for item in thing for array in flattened(item)]
    return [thing] if isinstance(thing, np.ndarray) else []


def permuted(posterior, permutation):
    """The hidden units renamed: rows of 0.weight and 0.bias, columns of 2.weight, and the
    covariance alike.
    """

    def move(name, values):
        if name.startswith("0."):
            return values[permutation]
        return values[:, permutation] if name == "2.weight" else values

    index, start = [], 0
    for name in posterior.covariance.order:
        shape = posterior.loc[name].shape
        index.append(start + move(name, np.arange(int(np.prod(shape))).reshape(shape)).reshape(-1))
        start += int(np.prod(shape))
    order = np.concatenate(index)
    old = posterior.covariance
    return posterior.replace(
        loc={n: move(n, v) for n, v in posterior.loc.items()},
        scale={n: move(n, v) for n, v in posterior.scale.items()},
        covariance=Covariance(old.order, old.factor[order], old.diagonal[order]),
    )


def test_permuted_it_is_written_and_read_back(case):
    _, _, options, posterior = case
    moved = permuted(posterior, [2, 0, 1])
    companion = companion_to_raw(moved)
    if companion is not None:
        options = {"companion": companion}
    again = read(to_raw(moved).tree, **options)
    np.testing.assert_allclose(matrix(again), matrix(moved), rtol=1e-7, atol=1e-10)
    for name in SHAPES:
        np.testing.assert_allclose(again.loc[name], moved.loc[name], rtol=1e-12)
        np.testing.assert_allclose(again.scale[name], moved.scale[name], rtol=1e-7)


def test_a_covariance_that_no_kronecker_factors_make_is_not_written():
    tree, _, options = laplace_kron()
    posterior = read(tree, **options)
    other = Covariance(posterior.covariance.order, np.linalg.cholesky(spd(D)), np.zeros(D))
    with pytest.raises(OutputError) as error:
        to_raw(posterior.replace(covariance=other))
    assert error.value.code == "cannot-represent"


def test_dropped_correlations_are_not_written_as_if_nothing_were():
    tree, _, options = laplace_full()
    posterior = read(tree, **options)
    with pytest.raises(OutputError):
        to_raw(posterior.replace(covariance=None))


def test_large_kronecker_curvature_gives_marginals_only(monkeypatch):
    tree, covariance, options = laplace_kron()
    monkeypatch.setattr("symdiag.formats.dialects.laplace.DENSE_LIMIT", 5)
    posterior = read(tree, **options)
    assert posterior.covariance is None
    assert any("correlations" in note for note in posterior.source.notes)
    marginal = np.concatenate([posterior.scale[name].reshape(-1) for name in SHAPES])
    np.testing.assert_allclose(marginal, np.sqrt(np.diag(covariance)), rtol=1e-9)


def test_kronecker_factors_may_be_stored_as_diagonals():
    left, right = np.array([1.0, 2.0]), np.array([0.5, 3.0, 1.0])
    expected = 1.0 / (2.0 * np.kron(left, right) + 0.3)
    np.testing.assert_allclose(kron_variances([left, right], 2.0, 0.3), expected)
    np.testing.assert_allclose(kron_variances([np.diag(left), right], 2.0, 0.3), expected)


def test_a_last_layer_approximation_leaves_the_body_deterministic():
    head = np.concatenate([MEANS["2.weight"].reshape(-1), MEANS["2.bias"]])
    tree = {
        "mean": head,
        "H": np.ones(4),
        "prior_precision": np.ones(1),
        "cls_name": "DiagLLLaplace",
    }
    tree |= {
        "data": np.ones((5, 2)),
        "_last_layer_name": None,
        "sigma_noise": 1.0,
        "temperature": 1.0,
    }
    posterior = read(tree, companion=raw(dict(MEANS)))
    assert list(posterior.names) == list(SHAPES)
    assert not posterior.scale["0.weight"].any()
    np.testing.assert_allclose(posterior.scale["2.weight"], 2**-0.5)
    assert any(
        item.key == "data" and "training data" in item.reason for item in posterior.source.ignored
    )
    moved = posterior.replace(loc={**posterior.loc, "2.bias": posterior.loc["2.bias"] + 1})
    assert companion_to_raw(moved).tree["2.bias"] == MEANS["2.bias"] + 1
    assert to_raw(moved).tree["mean"][-1] == MEANS["2.bias"][0] + 1


@pytest.mark.parametrize(
    ("changes", "options", "code"),
    [
        ({}, {}, "needs-model-shapes"),
        ({}, {"companion": raw({"0.weight": np.ones((3, 2))})}, "companion-mismatch"),
        ({}, {"companion": raw({n: m + 1 for n, m in MEANS.items()})}, "companion-mismatch"),
        ({"cls_name": "FunctionalLaplace"}, {"companion": raw(dict(MEANS))}, "unsupported"),
        ({"prior_precision": np.ones(2)}, {"companion": raw(dict(MEANS))}, "shape-mismatch"),
        ({"prior_precision": -np.ones(1)}, {"companion": raw(dict(MEANS))}, "bad-scale"),
        ({"mean": FLAT * np.nan}, {"companion": raw(dict(MEANS))}, "non-finite"),
        ({"H": -1e3 * np.eye(D)}, {"companion": raw(dict(MEANS))}, "bad-scale"),
        ({"cls_name": "DiagLaplace"}, {"companion": raw(dict(MEANS))}, "shape-mismatch"),
        ({"H": np.full((D, D), np.nan)}, {"companion": raw(dict(MEANS))}, "non-finite"),
    ],
)
def test_a_laplace_file_that_cannot_be_read(changes, options, code):
    tree, _, _ = laplace_full()
    with pytest.raises(InputError) as error:
        read({**tree, **changes}, **options)
    assert error.value.code == code


def test_a_kronecker_curvature_of_another_model():
    tree, _, options = laplace_kron()
    with pytest.raises(InputError) as error:
        read({**tree, "H": tree["H"][:-1]}, **options)
    assert error.value.code == "shape-mismatch"


def test_a_laplace_file_with_shapes_given_by_hand():
    tree, covariance, _ = laplace_full()
    posterior = read(tree, model_shapes=SHAPES)
    np.testing.assert_allclose(matrix(posterior), covariance, rtol=1e-8, atol=1e-10)
    assert companion_to_raw(posterior) is None


def test_a_flat_guide_s_transform_can_be_overridden():
    """Pyro before 1.6 kept its scales positive by exp."""
    tree = {"loc": FLAT, "scale_unconstrained": RHO}
    posterior = read(tree, model_shapes=SHAPES, scale_transform="exp")
    np.testing.assert_allclose(posterior.scale["2.bias"], np.exp(RHO[-1]))


@pytest.mark.parametrize("key", ["cov_factor", "scale_tril_unconstrained"])
def test_factors_that_are_not_finite(key):
    tree = {"loc": FLAT, "scale_unconstrained": RHO, key: np.full((D, D), np.nan)}
    with pytest.raises(InputError) as error:
        read(tree, model_shapes=SHAPES)
    assert error.value.code == "non-finite"


def ivon(groups, **more):
    return {"model": dict(MEANS), "optimizer": {"param_groups": groups}, **more}


def group(size, ess=10.0):
    return {"hess": np.ones(size), "ess": ess, "weight_decay": 0.5}


def test_ivon_with_several_groups_needs_the_order():
    with pytest.raises(UnsupportedError) as error:
        read(ivon([group(9), group(4, 40.0)]))
    assert error.value.code == "order-unknown"
    order = {name: SHAPES[name] for name in ("0.weight", "2.weight", "0.bias", "2.bias")}
    posterior = read(ivon([group(9), group(4, 40.0)]), model_shapes=order)
    np.testing.assert_allclose(posterior.scale["2.weight"], 15.0**-0.5)
    np.testing.assert_allclose(posterior.scale["2.bias"], 60.0**-0.5)
    np.testing.assert_allclose(posterior.prior.scale["2.bias"], 20.0**-0.5)


def test_ivon_whose_sizes_do_not_fit():
    with pytest.raises(UnsupportedError) as error:
        read(ivon([group(7)]))
    assert error.value.code == "shape-mismatch"


def test_ivon_over_a_part_of_the_model_needs_to_be_told_which():
    """Nine numbers are the first layer's or, in another net, the last one's: the first is no better
    a guess.
    """
    with pytest.raises(UnsupportedError) as error:
        read(ivon([group(9)]))
    assert error.value.code == "order-unknown"
    posterior = read(
        ivon([group(4)]), model_shapes={name: SHAPES[name] for name in ("2.weight", "2.bias")}
    )
    assert posterior.scale["2.weight"].all()
    assert not posterior.scale["0.weight"].any()
    assert not posterior.scale["0.bias"].any()


def store(constraint, **attributes):
    loc, scale = "net_guide.net.0.weight.loc", "net_guide.net.0.weight.scale"
    real = {"__class__": "torch.distributions.constraints._Real"}
    return {
        "params": {loc: np.ones((2, 2)), scale: np.zeros((2, 2))},
        "constraints": {loc: real, scale: {"__class__": constraint, **attributes}},
    }


@pytest.mark.parametrize(
    ("constraint", "attributes", "std"),
    [
        ("torch.distributions.constraints._GreaterThan", {"lower_bound": 0.0}, 1.0),
        ("torch.distributions.constraints._GreaterThan", {"lower_bound": 0.5}, 1.5),
        (
            "torch.distributions.constraints._Interval",
            {"lower_bound": 0.0, "upper_bound": 0.4},
            0.2,
        ),
    ],
)
def test_a_store_s_constraint_decides(constraint, attributes, std):
    posterior = read(store(constraint, **attributes))
    assert posterior.source.dialect == "tyxe"
    np.testing.assert_allclose(posterior.scale["0.weight"], std)


def test_an_unknown_constraint():
    with pytest.raises(UnsupportedError) as error:
        read(store("torch.distributions.constraints._Simplex"))
    assert error.value.code == "unknown-constraint"


def test_a_pyro_dict_without_constraints_is_ambiguous():
    """``dict(param_store.items())`` holds constrained values under the names the store uses for
    unconstrained ones.
    """
    tree = {
        "AutoNormal.locs.fc.weight": np.ones((2, 2)),
        "AutoNormal.scales.fc.weight": np.full((2, 2), 0.1),
    }
    with pytest.raises(UnsupportedError) as error:
        read(tree)
    assert error.value.code == "ambiguous-scale-transform"
    np.testing.assert_allclose(read(tree, scale_transform="identity").scale["fc.weight"], 0.1)


def test_posteriors_trees_must_match():
    tree = {"params": {"0.weight": np.ones((2, 2))}, "log_sd_diag": {}}
    with pytest.raises(InputError) as error:
        read(tree)
    assert error.value.code == "missing-scale"
    with pytest.raises(InputError) as error:
        read({**tree, "log_sd_diag": {"0.weight": np.ones(3)}})
    assert error.value.code == "shape-mismatch"
