import numpy as np
import pytest
import torch
from library_checks import assert_same_gaussian, changed

import symdiag.formats as formats
from symdiag.errors import InputError

SHAPES = {"fc1.weight": (3, 1), "fc1.bias": (3,), "fc2.weight": (1, 3), "fc2.bias": (1,)}
X = torch.linspace(-1, 1, 12).reshape(-1, 1)
Y = torch.sin(3 * X)


@pytest.fixture
def pyro(library):
    module = library("pyro")
    for name in (
        "pyro.nn",
        "pyro.infer",
        "pyro.infer.autoguide",
        "pyro.optim",
        "pyro.distributions",
    ):
        library(name)
    module.clear_param_store()
    yield module
    module.clear_param_store()


def build(pyro):
    normal = pyro.distributions.Normal

    class Net(pyro.nn.PyroModule):
        def __init__(self):
            super().__init__()
            self.fc1 = pyro.nn.PyroModule[torch.nn.Linear](1, 3)
            self.fc2 = pyro.nn.PyroModule[torch.nn.Linear](3, 1)
            for layer in (self.fc1, self.fc2):
                for name, value in list(layer.named_parameters()):
                    prior = normal(0.0, 1.0).expand(value.shape).to_event(value.dim())
                    setattr(layer, name, pyro.nn.PyroSample(prior))

        def forward(self, x, y=None):
            mean = self.fc2(torch.tanh(self.fc1(x)))
            with pyro.plate("data", len(x)):
                pyro.sample(
                    "obs", normal(mean.squeeze(-1), 0.2), obs=None if y is None else y.squeeze(-1)
                )
            return mean

    return Net()


def trained(pyro, guide_class, steps=30, **options):
    model = build(pyro)
    guide = guide_class(model, **options)
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), pyro.infer.Trace_ELBO())
    for _ in range(steps):
        svi.step(X, Y)
    return guide


def fresh(pyro, guide_class, **options):
    pyro.clear_param_store()
    guide = guide_class(build(pyro), **options)
    guide(X, Y)
    return guide


@pytest.mark.parametrize("std", [0.05, 1.7])
@pytest.mark.parametrize("constraint", ["positive", "softplus_positive"])
@pytest.mark.parametrize("words", [("loc", "scale"), ("mu", "sigma"), ("auto_loc", "auto_scale")])
def test_a_guide_of_one_s_own_in_the_parameter_store(tmp_path, pyro, std, constraint, words):
    """The store keeps log or softplus^-1 of what the guide calls a scale; 1.7 would pass as the std 0.53."""
    shapes = {"w1": (2, 3), "b1": (3,), "w2": (3, 1)}
    for name, shape in shapes.items():
        pyro.param(f"{name}_{words[0]}", torch.randn(shape))
        scale = std * torch.ones(shape)
        pyro.param(
            f"{name}_{words[1]}",
            scale,
            constraint=getattr(pyro.distributions.constraints, constraint),
        )
    pyro.get_param_store().save(tmp_path / "store.pt")
    posterior = formats.load(tmp_path / "store.pt")
    for values in posterior.scale.values():
        np.testing.assert_allclose(values, std, rtol=1e-5)

    formats.save(changed(posterior), tmp_path / "changed.pt")
    pyro.clear_param_store()
    pyro.get_param_store().load(tmp_path / "changed.pt")
    ours = formats.load(tmp_path / "changed.pt").scale["w1"]
    np.testing.assert_allclose(
        pyro.param(f"w1_{words[1]}").detach().double().numpy(), ours, rtol=1e-5
    )


def test_autonormal_store_and_state_dict(tmp_path, pyro):
    auto = pyro.infer.autoguide.AutoNormal
    guide = trained(pyro, auto)
    own = {name: guide._get_loc_and_scale(name) for name in SHAPES}
    expected = {
        n: tuple(np.asarray(t.detach(), dtype=float) for t in pair) for n, pair in own.items()
    }
    pyro.get_param_store().save(tmp_path / "store.pt")
    torch.save(pyro.get_param_store().get_state(), tmp_path / "state.pt")
    torch.save(guide.state_dict(), tmp_path / "guide.pt")
    for file in ("store.pt", "state.pt", "guide.pt"):
        posterior = formats.load(tmp_path / file)
        assert posterior.source.dialect == "pyro"
        assert ("scale_constraint" in " ".join(posterior.source.notes)) == (file == "guide.pt")
        assert_same_gaussian(posterior, expected)

    other = changed(formats.load(tmp_path / "guide.pt"))
    formats.save(other, tmp_path / "changed-guide.pt")
    again = fresh(pyro, auto)
    again.load_state_dict(torch.load(tmp_path / "changed-guide.pt", weights_only=True))
    for name in SHAPES:
        loc, scale = again._get_loc_and_scale(name)
        np.testing.assert_allclose(loc.detach(), other.loc[name], rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(scale.detach(), other.scale[name], rtol=1e-5)

    formats.save(formats.load(tmp_path / "store.pt"), tmp_path / "again-store.pt")
    pyro.clear_param_store()
    pyro.get_param_store().load(tmp_path / "again-store.pt")
    for name in SHAPES:
        np.testing.assert_array_equal(
            pyro.param(f"AutoNormal.locs.{name}").detach(), own[name][0].detach()
        )
        np.testing.assert_array_equal(
            pyro.param(f"AutoNormal.scales.{name}").detach(), own[name][1].detach()
        )


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("AutoDiagonalNormal", {}),
        ("AutoLowRankMultivariateNormal", {"rank": 2}),
        ("AutoMultivariateNormal", {}),
    ],
)
def test_flat_guides(tmp_path, pyro, kind, options):
    auto = getattr(pyro.infer.autoguide, kind)
    guide = trained(pyro, auto, **options)
    base = guide.get_posterior()
    own = getattr(base, "covariance_matrix", None)
    covariance = (torch.diag(base.variance) if own is None else own).detach().double().numpy()
    torch.save(guide.state_dict(), tmp_path / "guide.pt")
    pyro.get_param_store().save(tmp_path / "store.pt")

    with pytest.raises(InputError) as error:
        formats.load(tmp_path / "guide.pt")
    assert error.value.code == "needs-model-shapes"

    for file in ("guide.pt", "store.pt"):
        posterior = formats.load(tmp_path / file, model_shapes=SHAPES)
        flat = np.concatenate([posterior.loc[name].reshape(-1) for name in SHAPES])
        np.testing.assert_allclose(flat, base.mean.detach().numpy(), rtol=1e-6)
        marginal = np.concatenate([posterior.scale[name].reshape(-1) for name in SHAPES])
        np.testing.assert_allclose(marginal, np.sqrt(np.diag(covariance)), rtol=3e-6)
        if posterior.covariance is not None:
            ours = posterior.covariance.factor @ posterior.covariance.factor.T + np.diag(
                posterior.covariance.diagonal
            )
            np.testing.assert_allclose(ours, covariance, rtol=1e-4, atol=1e-8)

    formats.save(formats.load(tmp_path / "guide.pt", model_shapes=SHAPES), tmp_path / "again.pt")
    again = fresh(pyro, auto, **options)
    again.load_state_dict(torch.load(tmp_path / "again.pt", weights_only=True))
    torch.manual_seed(4)
    first = guide.get_posterior().sample()
    torch.manual_seed(4)
    assert torch.equal(again.get_posterior().sample(), first)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("AutoLowRankMultivariateNormal", {"rank": 2}), ("AutoMultivariateNormal", {})],
)
def test_a_permuted_covariance_loads_in_the_guide(tmp_path, pyro, kind, options):
    auto = getattr(pyro.infer.autoguide, kind)
    torch.save(trained(pyro, auto, **options).state_dict(), tmp_path / "guide.pt")
    posterior = formats.load(tmp_path / "guide.pt", model_shapes=SHAPES)
    moved = permuted(posterior, [2, 0, 1])
    formats.save(moved, tmp_path / "moved.pt")
    again = fresh(pyro, auto, **options)
    again.load_state_dict(torch.load(tmp_path / "moved.pt", weights_only=True))
    own = again.get_posterior().covariance_matrix.detach().double().numpy()
    ours = moved.covariance.factor @ moved.covariance.factor.T + np.diag(moved.covariance.diagonal)
    np.testing.assert_allclose(own, ours, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("constraint", ["positive", "softplus_positive", "greater_than"])
def test_two_guides_in_one_store_with_any_positive_constraint(tmp_path, pyro, constraint):
    """A stale AutoNormal beside the low-rank guide: named, and the chosen one is the library's own."""
    bound = getattr(pyro.distributions.constraints, constraint)
    trained(pyro, pyro.infer.autoguide.AutoNormal, steps=2)

    class Guide(pyro.infer.autoguide.AutoLowRankMultivariateNormal):
        scale_constraint = bound(0.01) if constraint == "greater_than" else bound

    base = trained(pyro, Guide, rank=2).get_posterior()
    pyro.get_param_store().save(tmp_path / "store.pt")
    with pytest.raises(InputError) as error:
        formats.load(tmp_path / "store.pt", model_shapes=SHAPES)
    assert error.value.code == "several-posteriors"
    assert "--member Guide or --member AutoNormal" in error.value.hint
    posterior = formats.load(tmp_path / "store.pt", model_shapes=SHAPES, member="Guide")
    found = posterior.covariance
    np.testing.assert_allclose(
        found.factor @ found.factor.T + np.diag(found.diagonal),
        base.covariance_matrix.detach().double().numpy(),
        rtol=1e-4,
        atol=1e-8,
    )


def permuted(posterior, permutation):
    """The same network with its three hidden units renamed, correlations and all."""
    rows = {name: np.arange(v.size).reshape(v.shape) for name, v in posterior.loc.items()}

    def move(name, values):
        return (
            values[:, permutation]
            if name == "fc2.weight"
            else values
            if name == "fc2.bias"
            else values[permutation]
        )

    offset, order = 0, []
    for name in posterior.covariance.order:
        order.append(offset + move(name, rows[name]).reshape(-1))
        offset += rows[name].size
    order = np.concatenate(order)
    old = posterior.covariance
    return posterior.replace(
        loc={n: move(n, v) for n, v in posterior.loc.items()},
        scale={n: move(n, v) for n, v in posterior.scale.items()},
        covariance=type(old)(old.order, old.factor[order], old.diagonal[order]),
    )
