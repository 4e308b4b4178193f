import numpy as np
import pytest
import torch

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
