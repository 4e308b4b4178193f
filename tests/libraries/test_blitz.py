import torch
from library_checks import module_checks


def gaussian(model):
    found = {}
    for name, layer in model.named_modules():
        for part in ("weight", "weight_ih", "weight_hh", "bias"):
            sampler = getattr(layer, f"{part}_sampler", None)
            if sampler is not None:
                sampler.sample()
                found[f"{name}.{part}"] = (sampler.mu, sampler.sigma)
    return found


def test_linear_layers(tmp_path, library):
    modules = library("blitz.modules")
    net = lambda: torch.nn.Sequential(  # noqa: E731
        modules.BayesianLinear(3, 5), torch.nn.ReLU(), modules.BayesianLinear(5, 2)
    )
    posterior = module_checks(tmp_path, net, gaussian, lambda model: model(torch.ones(2, 3)))
    assert posterior.source.dialect == "blitz"
    assert posterior.num_parameters == 3 * 5 + 5 + 5 * 2 + 2


def test_convolution_lstm_and_embedding(tmp_path, library):
    modules = library("blitz.modules")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = modules.BayesianConv2d(1, 2, (3, 3), bias=False)
            self.lstm = modules.BayesianLSTM(2, 3)
            self.table = modules.BayesianEmbedding(7, 2)

        def forward(self, x):
            rows = self.conv(x).flatten(2).transpose(1, 2)
            return self.lstm(rows)[0].sum() + self.table(torch.tensor([1, 2])).sum()

    posterior = module_checks(tmp_path, Net, gaussian, lambda model: model(torch.ones(1, 1, 5, 5)))
    assert "conv.bias" not in posterior.names
    assert posterior.loc["lstm.weight_ih"].shape == (2, 12)


def test_a_linear_layer_without_bias_keeps_one_in_the_file_and_we_say_so(tmp_path, library):
    modules = library("blitz.modules")
    import symdiag.formats as formats

    torch.save(
        torch.nn.Sequential(modules.BayesianLinear(3, 5, bias=False)).state_dict(),
        tmp_path / "net.pt",
    )
    notes = formats.load(tmp_path / "net.pt").source.notes
    assert any("bias" in note and "unused" in note for note in notes)
