import numpy as np

import symdiag.formats as formats


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
    for site, name in (("w1", "1.weight"), ("b1", "1.bias"), ("w2", "2.weight")):
        median, upper = np.asarray(own[site], dtype=float)
        np.testing.assert_allclose(posterior.loc[name], median, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(posterior.scale[name], upper - median, rtol=1e-4)

    formats.save(posterior, tmp_path / "again.npz")
    again = dict(np.load(tmp_path / "again.npz"))
    assert again.keys() == params.keys()
    assert all(np.array_equal(again[name], np.asarray(params[name])) for name in params)
