import numpy as np
import pytest
import torch

import symdiag
import symdiag.formats as formats

X = torch.linspace(-2, 2, 30).reshape(-1, 1)
Y = torch.sin(X) + 0.05 * torch.randn(30, 1, generator=torch.Generator().manual_seed(0))


def build():
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Linear(1, 4),
        torch.nn.Tanh(),
        torch.nn.Linear(4, 3),
        torch.nn.Tanh(),
        torch.nn.Linear(3, 1),
    )


def fitted(laplace, subset, structure, model):
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), batch_size=30)
    approximation = laplace.Laplace(
        model,
        "regression",
        subset_of_weights=subset,
        hessian_structure=structure,
        sigma_noise=0.3,
        prior_precision=1.7,
    )
    approximation.fit(loader)
    return approximation


def own_covariance(approximation, structure):
    if structure == "diag":
        return torch.diag(approximation.posterior_variance)
    if structure == "full":
        return approximation.posterior_covariance
    return torch.linalg.inv(approximation.posterior_precision.to_matrix().double())


@pytest.mark.parametrize("subset", ["all", "last_layer"])
@pytest.mark.parametrize("structure", ["diag", "full", "kron"])
def test_structures_and_subsets(tmp_path, library, subset, structure):
    laplace = library("laplace")
    model = build()
    approximation = fitted(laplace, subset, structure, model)
    torch.save(approximation.state_dict(), tmp_path / "laplace.bin")
    torch.save(build().state_dict(), tmp_path / "model.bin")
    posterior = formats.load(tmp_path / "laplace.bin", companion=tmp_path / "model.bin")
    random = [name for name in posterior.names if posterior.scale[name].any()]
    assert random == (list(posterior.names) if subset == "all" else ["4.weight", "4.bias"])

    covariance = own_covariance(approximation, structure).detach().double().numpy()
    marginal = np.concatenate([posterior.scale[name].reshape(-1) for name in random])
    np.testing.assert_allclose(marginal, np.sqrt(np.diag(covariance)), rtol=1e-4)
    if structure != "diag":
        ours = posterior.covariance.factor @ posterior.covariance.factor.T
        np.testing.assert_allclose(ours, covariance, rtol=1e-3, atol=1e-6 * covariance.max())
    np.testing.assert_allclose(posterior.prior.scale[random[0]], 1.7**-0.5, rtol=1e-6)

    formats.save(posterior, tmp_path / "again.bin", companion=tmp_path / "again-model.bin")
    fresh = build()
    fresh.load_state_dict(torch.load(tmp_path / "again-model.bin", weights_only=True))
    restored = laplace.Laplace(
        fresh, "regression", subset_of_weights=subset, hessian_structure=structure
    )
    restored.load_state_dict(torch.load(tmp_path / "again.bin", weights_only=False))
    for mine, theirs in zip(restored(X[:5]), approximation(X[:5]), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("structure", ["diag", "full", "kron"])
def test_a_permuted_posterior_predicts_the_same(tmp_path, library, structure):
    laplace = library("laplace")
    model = build()
    approximation = fitted(laplace, "all", structure, model)
    torch.save(approximation.state_dict(), tmp_path / "laplace.bin")
    torch.save(model.state_dict(), tmp_path / "model.bin")
    posterior = permuted(
        formats.load(tmp_path / "laplace.bin", companion=tmp_path / "model.bin"), [2, 0, 3, 1]
    )
    formats.save(posterior, tmp_path / "moved.bin", companion=tmp_path / "moved-model.bin")
    fresh = build()
    fresh.load_state_dict(torch.load(tmp_path / "moved-model.bin", weights_only=True))
    assert not torch.equal(fresh[0].weight, model[0].weight)
    restored = laplace.Laplace(
        fresh, "regression", subset_of_weights="all", hessian_structure=structure
    )
    restored.load_state_dict(torch.load(tmp_path / "moved.bin", weights_only=False))
    for mine, theirs in zip(restored(X[:5]), approximation(X[:5]), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2e-3, atol=1e-4)


def permuted(posterior, permutation):
    """The first hidden layer's units renamed, correlations and all."""

    def move(name, values):
        if name in ("0.weight", "0.bias"):
            return values[permutation]
        return values[:, permutation] if name == "2.weight" else values

    changes = {
        "loc": {n: move(n, v) for n, v in posterior.loc.items()},
        "scale": {n: move(n, v) for n, v in posterior.scale.items()},
    }
    old = posterior.covariance
    if old is not None:
        offset, order = 0, []
        for name in old.order:
            index = np.arange(posterior.loc[name].size).reshape(posterior.loc[name].shape)
            order.append(offset + move(name, index).reshape(-1))
            offset += index.size
        order = np.concatenate(order)
        changes["covariance"] = type(old)(old.order, old.factor[order], old.diagonal[order])
    return posterior.replace(**changes)


@pytest.fixture
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def noisy(laplace, subset, structure, likelihood, prior_precision=1.7):
    """An approximation in float64, with a temperature and an unusual prior mean."""
    model = build().double()
    inputs, targets = X.double(), Y.double()
    if likelihood == "classification":
        model = torch.nn.Sequential(*model, torch.nn.Linear(1, 3))
        targets = (targets[:, 0] > 0).long() + (inputs[:, 0] > 1).long()
    approximation = laplace.Laplace(
        model,
        likelihood,
        subset_of_weights=subset,
        hessian_structure=structure,
        prior_mean=0.1,
        prior_precision=prior_precision,
        temperature=1.3,
        **({"sigma_noise": 0.3} if likelihood == "regression" else {}),
    )
    dataset = torch.utils.data.TensorDataset(inputs, targets)
    approximation.fit(torch.utils.data.DataLoader(dataset, batch_size=8))
    return model, approximation


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("likelihood", ["regression", "classification"])
@pytest.mark.parametrize("subset", ["all", "last_layer"])
@pytest.mark.parametrize("structure", ["diag", "full", "kron"])
def test_the_evidence_is_their_log_marginal_likelihood(
    tmp_path, library, subset, structure, likelihood
):
    """From the state dict, from the pickled object and from the live one."""
    model, approximation = noisy(library("laplace"), subset, structure, likelihood)
    torch.save(approximation.state_dict(), tmp_path / "laplace.bin")
    torch.save(model.state_dict(), tmp_path / "model.bin")
    own = approximation.log_marginal_likelihood().item()
    found = symdiag.analyze(
        tmp_path / "laplace.bin", companion=tmp_path / "model.bin", samples=4
    )  # without the activation: a prior mean of 0.1 would not be invariant under sign flips
    assert found.laplace.uncorrected == pytest.approx(own, abs=1e-6)
    if subset == "all":  # a last-layer object holds a local function, which no pickle can name
        gain = found.laplace.corrected.value - found.laplace.uncorrected
        assert gain == pytest.approx(found.total.mutual_information.value, abs=1e-9)
        torch.save(approximation, tmp_path / "whole.pkl")
        sources = (tmp_path / "whole.pkl", approximation)
    else:
        assert found.laplace.corrected is None
        assert "fixed weights" in found.laplace.left_out
        sources = (approximation,)
    for source in sources:
        terms = formats.load(source).source.laplace
        total = terms.log_likelihood - 0.5 * (terms.log_det_ratio + terms.scatter)
        assert total == pytest.approx(own, abs=1e-6)


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("structure", ["diag", "full", "kron"])
def test_a_prior_per_layer_enters_the_evidence(tmp_path, library, structure):
    _, approximation = noisy(library("laplace"), "all", structure, "regression")
    approximation.prior_precision = torch.linspace(0.5, 3.0, 6)
    terms = formats.load(approximation).source.laplace
    total = terms.log_likelihood - 0.5 * (terms.log_det_ratio + terms.scatter)
    assert total == pytest.approx(approximation.log_marginal_likelihood().item(), abs=1e-6)


@pytest.mark.parametrize("key", ["loss", "n_data"])
def test_a_file_without_the_loss_says_so(tmp_path, library, key):
    approximation = fitted(library("laplace"), "all", "diag", build())
    state = approximation.state_dict()
    del state[key]
    torch.save(state, tmp_path / "old.bin")
    torch.save(build().state_dict(), tmp_path / "model.bin")
    found = symdiag.analyze(
        tmp_path / "old.bin", companion=tmp_path / "model.bin", samples=4, activation="tanh"
    ).laplace
    assert (found.uncorrected, found.corrected) == (None, None)
    assert found.left_out == f"the file does not hold {key}"
    assert found.scatter == pytest.approx(approximation.scatter.item(), rel=1e-4)
