import pytest
import torch
from library_checks import module_checks

import symdiag.formats as formats
from symdiag.errors import UnsupportedError


def gaussian(model):
    """Mean and std from the distribution object itself: its samples are mean + std * noise."""
    found = {}
    for name, layer in model.named_modules():
        for variable in getattr(layer, "random_variables", None) or ():
            parameters = layer.get_variational_parameters(variable)
            if len(parameters) == 2:
                distribution = layer.variational_distribution[variable]
                zero = distribution.sample([torch.zeros_like(parameters[0]), parameters[1]])
                torch.manual_seed(5)
                draw = distribution.sample([torch.zeros_like(parameters[0]), parameters[1]])
                torch.manual_seed(5)
                noise = distribution.sample([torch.zeros_like(zero), torch.zeros_like(zero)])
                found[f"{name}.{variable}"] = (parameters[0], draw / noise)
    return found


def test_linear_and_convolution(tmp_path, library):
    vi = library("torch_blue.vi")
    net = lambda: vi.VISequential(  # noqa: E731
        vi.VIConv2d(1, 2, 3), torch.nn.Flatten(), vi.VILinear(8, 3), vi.VILinear(3, 2)
    )
    posterior = module_checks(
        tmp_path,
        net,
        gaussian,
        lambda model: torch.stack(
            [layer.weight.flatten() for layer in model if hasattr(layer, "_weight_mean")][:1]
        ),
    )
    assert posterior.source.dialect == "torch-blue"


def test_variables_that_are_not_bayesian_have_no_std(tmp_path, library):
    vi = library("torch_blue.vi")
    distributions = library("torch_blue.vi.distributions")
    plain = vi.VILinear(
        3,
        2,
        variational_distribution=[distributions.MeanFieldNormal(), distributions.NonBayesian()],
    )
    torch.save(vi.VISequential(plain).state_dict(), tmp_path / "net.pt")
    posterior = formats.load(tmp_path / "net.pt")
    assert posterior.scale["0.weight"].all()
    assert not posterior.scale["0.bias"].any()


def test_student_t_is_refused(tmp_path, library):
    vi = library("torch_blue.vi")
    distributions = library("torch_blue.vi.distributions")
    layer = vi.VILinear(3, 2, variational_distribution=distributions.StudentT())
    torch.save(vi.VISequential(layer).state_dict(), tmp_path / "net.pt")
    with pytest.raises(UnsupportedError) as error:
        formats.load(tmp_path / "net.pt")
    assert error.value.code == "not-gaussian"
