import numpy as np
import pytest
import torch
from library_checks import assert_same_gaussian

import symdiag.formats as formats


@pytest.fixture
def tyxe(library):
    """TyXe 0.0.2 needs ``pyro.util.deep_getattr``, which Pyro 1.9 dropped; give it back."""
    pyro = library("pyro")
    module = library("tyxe")
    util = library("pyro.util")
    patch = pytest.MonkeyPatch()
    if not hasattr(util, "deep_getattr"):
        import functools

        patch.setattr(
            util,
            "deep_getattr",
            lambda thing, name: functools.reduce(getattr, name.split("."), thing),
            raising=False,
        )
    pyro.clear_param_store()
    yield module
    pyro.clear_param_store()
    patch.undo()


@pytest.mark.parametrize("limit", [None, 0.4])
def test_guide_with_and_without_a_largest_scale(tmp_path, tyxe, library, limit):
    pyro = library("pyro")
    net = torch.nn.Sequential(torch.nn.Linear(1, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    prior = tyxe.priors.IIDPrior(library("pyro.distributions").Normal(0, 1))
    guide = lambda module: tyxe.guides.AutoNormal(module, init_scale=0.1, max_guide_scale=limit)  # noqa: E731
    bnn = tyxe.VariationalBNN(
        net, prior, tyxe.likelihoods.HomoskedasticGaussian(20, scale=0.1), guide
    )
    x = torch.linspace(-1, 1, 20).reshape(-1, 1)
    bnn.fit([(x, x**2)], pyro.optim.Adam({"lr": 0.05}), 3)
    sites = ["0.weight", "0.bias", "2.weight", "2.bias"]
    expected = {}
    for site in sites:
        name = next(n for n in pyro.get_param_store() if n.endswith(f"{site}.loc"))
        loc, scale = pyro.param(name), pyro.param(name.removesuffix("loc") + "scale")
        expected[site] = tuple(np.asarray(t.detach(), dtype=float) for t in (loc, scale))
    pyro.get_param_store().save(tmp_path / "store.pt")
    posterior = formats.load(tmp_path / "store.pt")
    assert posterior.source.dialect == "tyxe"
    assert_same_gaussian(posterior, expected)
    if limit is None:
        torch.save(bnn.state_dict(), tmp_path / "bnn.pt")
        assert_same_gaussian(formats.load(tmp_path / "bnn.pt"), expected)
