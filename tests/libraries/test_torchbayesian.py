import torch
from library_checks import module_checks


def gaussian(model):
    found = {}
    for name, module in model.named_modules():
        if name.endswith(".variational_posterior"):
            tensor = (
                name.removeprefix("module.")
                .removesuffix(".variational_posterior")
                .replace("reparametrizations.", "")
            )
            found[tensor] = (module.mu, module.sigma)
    return found


def test_any_parameter_can_be_bayesian(tmp_path, library):
    bnn = library("torchbayesian.bnn")
    net = lambda: bnn.BayesianModule(  # noqa: E731
        torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 2))
    )
    posterior = module_checks(tmp_path, net, gaussian, lambda model: model(torch.ones(2, 3)))
    assert posterior.source.dialect == "torchbayesian"
    assert posterior.scale["1.weight"].all()
