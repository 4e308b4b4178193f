import numpy as np
import pytest

import symdiag.formats as formats
from symdiag.errors import UnsupportedError


def test_autonormal_params_in_an_npz(tmp_path, library):
    numpyro = library("numpyro")
    jax = library("jax")
    distributions = library("numpyro.distributions")
    library("numpyro.infer.autoguide")

    def model(x, y=None):
        w1 = numpyro.sample("w1", distributions.Normal(0, 1).expand([2, 4]).to_event(2))
        b1 = numpyro.sample("b1", distributions.Normal(0, 1).expand([4]).to_event(1))
        w2 = numpyro.sample("w2", distributions.Normal(0, 1).expand([4, 1]).to_event(2))
        numpyro.sample("y", distributions.Normal(jax.numpy.tanh(x @ w1 + b1) @ w2, 0.3), obs=y)

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 2)), rng.standard_normal((20, 1))
    guide = numpyro.infer.autoguide.AutoNormal(model)
    svi = numpyro.infer.SVI(model, guide, numpyro.optim.Adam(0.05), numpyro.infer.Trace_ELBO())
    params = svi.run(jax.random.PRNGKey(0), 20, x, y, progress_bar=False).params
    np.savez(tmp_path / "params.npz", **{name: np.asarray(value) for name, value in params.items()})

    posterior = formats.load(tmp_path / "params.npz")
    assert posterior.source.dialect == "numpyro"
    own = guide.quantiles(params, [0.5, 0.841344746068543])
    for site in ("w1", "b1", "w2"):
        median, upper = np.asarray(own[site], dtype=float)
        np.testing.assert_allclose(posterior.loc[site], median, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(posterior.scale[site], upper - median, rtol=1e-4)

    formats.save(posterior, tmp_path / "again.npz")
    again = dict(np.load(tmp_path / "again.npz"))
    assert again.keys() == params.keys()
    assert all(np.array_equal(again[name], np.asarray(params[name])) for name in params)


SITES = {"b1": (4,), "noise": (), "w1": (2, 4), "w2": (4, 1)}


@pytest.fixture
def trained(library):
    """Guide class name → (guide, params) of a small net with a noise std among its latent variables."""
    numpyro, jax, normal = (
        library("numpyro"),
        library("jax"),
        library("numpyro.distributions").Normal,
    )
    guides = library("numpyro.infer.autoguide")

    def model(x, y=None):
        site = lambda name: numpyro.sample(  # noqa: E731
            name, normal(0, 1).expand(SITES[name]).to_event(len(SITES[name]))
        )
        mean = jax.numpy.tanh(x @ site("w1") + site("b1")) @ site("w2")
        numpyro.sample("y", normal(mean, jax.numpy.exp(site("noise"))), obs=y)

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 2)), rng.standard_normal((20, 1))

    def train(kind):
        guide = getattr(guides, kind)(model)
        svi = numpyro.infer.SVI(model, guide, numpyro.optim.Adam(0.05), numpyro.infer.Trace_ELBO())
        return guide, svi.run(jax.random.PRNGKey(0), 20, x, y, progress_bar=False).params

    return train


@pytest.mark.parametrize(
    "kind", ["AutoDiagonalNormal", "AutoLowRankMultivariateNormal", "AutoMultivariateNormal"]
)
def test_guides_over_one_flat_vector(tmp_path, trained, kind):
    guide, params = trained(kind)
    np.savez(tmp_path / "params.npz", **{name: np.asarray(value) for name, value in params.items()})
    with pytest.raises(UnsupportedError) as error:
        formats.load(tmp_path / "params.npz")
    assert error.value.code == "needs-model-shapes"
    posterior = formats.load(tmp_path / "params.npz", model_shapes=SITES)
    own = guide.get_posterior(params)
    assert posterior.loc["w1"].shape == SITES["w1"]
    flat = [
        np.concatenate([part[n].reshape(-1) for n in posterior.names])
        for part in (posterior.loc, posterior.scale)
    ]
    np.testing.assert_allclose(flat[0], np.asarray(own.mean), rtol=1e-6)
    np.testing.assert_allclose(flat[1], np.sqrt(np.asarray(own.variance)), rtol=1e-5)
    if kind != "AutoDiagonalNormal":
        found = posterior.covariance.factor @ posterior.covariance.factor.T + np.diag(
            posterior.covariance.diagonal
        )
        np.testing.assert_allclose(found, np.asarray(own.covariance_matrix), rtol=1e-4, atol=1e-7)

    formats.save(posterior, tmp_path / "again.npz")
    again = dict(np.load(tmp_path / "again.npz"))
    assert again.keys() == params.keys()
    assert all(np.array_equal(again[name], np.asarray(params[name])) for name in params)


@pytest.mark.parametrize("kind", ["AutoLowRankMultivariateNormal", "AutoMultivariateNormal"])
def test_a_covariance_that_moved_is_read_by_the_guide(tmp_path, trained, kind):
    guide, params = trained(kind)
    np.savez(tmp_path / "params.npz", **{name: np.asarray(value) for name, value in params.items()})
    posterior = formats.load(tmp_path / "params.npz", model_shapes=SITES)
    before = posterior.covariance
    order = np.random.default_rng(1).permutation(len(before.diagonal))
    moved = type(before)(before.order, before.factor[order], before.diagonal[order])
    formats.save(posterior.replace(covariance=moved), tmp_path / "moved.npz")
    theirs = guide.get_posterior(dict(np.load(tmp_path / "moved.npz"))).covariance_matrix
    mine = moved.factor @ moved.factor.T + np.diag(moved.diagonal)
    np.testing.assert_allclose(np.asarray(theirs), mine, rtol=1e-4, atol=1e-6)
