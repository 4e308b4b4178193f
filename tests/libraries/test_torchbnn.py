import torch
from library_checks import module_checks

import symdiag.formats as formats


def build(bnn):
    return torch.nn.Sequential(
        bnn.BayesConv2d(0, 0.1, in_channels=1, out_channels=2, kernel_size=3),
        bnn.BayesBatchNorm2d(0, 0.1, num_features=2),
        torch.nn.Flatten(),
        bnn.BayesLinear(0, 0.1, in_features=8, out_features=3),
    )


def gaussian(model):
    return {
        f"{name}.{part}": (
            getattr(layer, f"{part}_mu"),
            torch.exp(getattr(layer, f"{part}_log_sigma")),
        )
        for name, layer in model.named_modules()
        for part in ("weight", "bias")
        if getattr(layer, f"{part}_log_sigma", None) is not None
    }


def test_linear_convolution_and_bayesian_batchnorm(tmp_path, library):
    bnn = library("torchbnn")
    posterior = module_checks(
        tmp_path,
        lambda: build(bnn).eval(),
        gaussian,
        lambda model: model(torch.arange(16.0).reshape(1, 1, 4, 4)),
    )
    assert posterior.source.dialect == "torchbnn"
    assert {"1.running_mean", "1.running_var"} == set(posterior.buffers)


def test_frozen_noise_is_no_parameter(tmp_path, library):
    bnn = library("torchbnn")
    model = build(bnn)
    library("torchbnn.utils.freeze_model").freeze(model)
    torch.save(model.state_dict(), tmp_path / "frozen.pt")
    posterior = formats.load(tmp_path / "frozen.pt")
    assert posterior.num_parameters == 18 + 2 + 2 + 2 + 24 + 3
    assert any(item.key.endswith("weight_eps") for item in posterior.source.ignored)
