import numpy as np
import torch
from library_checks import check_library


def build():
    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))


def trained(ivon):
    model = build()
    optimizer = ivon.IVON(model.parameters(), lr=0.1, ess=80.0, weight_decay=2e-3)
    x, y = torch.randn(20, 3), torch.randn(20, 1)
    for _ in range(5):
        with optimizer.sampled_params(train=True):
            optimizer.zero_grad()
            ((model(x) - y) ** 2).mean().backward()
        optimizer.step()
    return model, optimizer


def gaussian(pair):
    """The std behind the library's own draws: the same noise, with and without it."""
    model, optimizer = pair
    names = [name for name, _ in model.named_parameters()]
    means = {name: p.detach().clone() for name, p in model.named_parameters()}
    torch.manual_seed(11)
    with optimizer.sampled_params():
        draws = {name: p.detach().clone() for name, p in model.named_parameters()}
    torch.manual_seed(11)
    noise = torch.randn(sum(mean.numel() for mean in means.values()))
    pieces = torch.split(noise, [means[name].numel() for name in names])
    return {
        name: (
            means[name],
            ((draws[name] - means[name]).double() / piece.view(means[name].shape).double()),
        )
        for name, piece in zip(names, pieces, strict=True)
    }


def test_model_and_optimizer_in_one_file(tmp_path, library):
    ivon = library("ivon")
    model, optimizer = trained(ivon)

    def save(path):
        state = {
            "model_state_dict": model.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
        }
        torch.save(state, path)

    def restore(path):
        state = torch.load(path, weights_only=True)
        fresh = build()
        again = ivon.IVON(fresh.parameters(), lr=0.1, ess=1.0)
        fresh.load_state_dict(state["model_state_dict"])
        again.load_state_dict(state["optimizer_state_dict"])
        return fresh, again

    def own(pair):
        """From the optimiser's group, as its `_sample_params` divides its noise."""
        group = pair[1].param_groups[0]
        std = 1 / (group["ess"] * (group["hess"].double() + group["weight_decay"])).sqrt()
        pieces = torch.split(std, [p.numel() for p in pair[0].parameters()])
        return {
            n: (p, s.view(p.shape))
            for (n, p), s in zip(pair[0].named_parameters(), pieces, strict=True)
        }

    def predict(pair):
        with pair[1].sampled_params():
            return pair[0](torch.ones(2, 3))

    posterior = check_library(tmp_path, save=save, restore=restore, gaussian=own, predict=predict)
    assert posterior.source.dialect == "ivon"
    np.testing.assert_allclose(posterior.prior.scale["0.weight"], (80.0 * 2e-3) ** -0.5)
    for name, (_, std) in gaussian((model, optimizer)).items():
        np.testing.assert_allclose(posterior.scale[name], std, rtol=2e-3, err_msg=name)
