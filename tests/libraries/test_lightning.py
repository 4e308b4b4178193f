"""The penalty inside a LightningModule: traced from it, copied with it, checkpointed without it."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from symdiag import StraddlingPenalty

WIDTH = 8


class MeanField(nn.Module):
    """A hand-written layer with one std per weight."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight_mu = nn.Parameter(torch.randn(outputs, inputs))
        self.weight_rho = nn.Parameter(torch.zeros(outputs, inputs))

    def forward(self, x):
        noise = torch.randn_like(self.weight_mu)
        return F.linear(x, self.weight_mu + F.softplus(self.weight_rho) * noise)


@pytest.fixture(scope="module")
def regression():
    """The LightningModule class, and a data loader."""
    lightning = pytest.importorskip("lightning")

    class Regression(lightning.LightningModule):
        def __init__(self, straddling, **options):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second = MeanField(2, WIDTH), MeanField(WIDTH, 1)
            self.straddling = straddling
            # over the LightningModule itself: it is the network
            self.penalty = StraddlingPenalty(self, scale_transform="softplus", **options)
            self.seen = []

        def forward(self, x):
            return self.second(torch.tanh(self.first(x)))

        def training_step(self, batch, index):
            x, y = batch
            fit = 0.5 * ((y - self(x)) / 0.3).square().sum()
            steps = self.trainer.max_steps
            boost = self.penalty.schedule(self.global_step, steps)
            penalty = self.penalty()
            self.seen.append((boost, float(penalty)))
            self.log("straddling", penalty)
            return fit + self.straddling * boost * penalty

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=2e-2)

    x = torch.linspace(-2, 2, 32)[:, None].repeat(1, 2)
    data = torch.utils.data.TensorDataset(x, torch.sin(x[:, :1]))
    return Regression, torch.utils.data.DataLoader(data, batch_size=32)


def trained(module, data, folder, steps=60):
    """The module after so many steps of a real Trainer."""
    import lightning

    lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    ).fit(module, data)
    return module


def straddling(module):
    return float(StraddlingPenalty(module, scale_transform="softplus", draws=200)())


def test_a_trainer_minimises_it(regression, tmp_path):
    make, data = regression
    without = straddling(trained(make(0.0), data, tmp_path))
    module = trained(make(10.0, every=2), data, tmp_path)
    assert straddling(module) < 0.7 * without
    assert module.seen[0][0] == 4.0
    assert module.seen[-1][0] == 1.0
    assert module.penalty.spec.groups[0].signed
    # it holds no parameters of its own: checkpoints are those of the module without it
    assert all("penalty" not in name for name in module.state_dict())
    assert len(list(module.parameters())) == 4


def test_a_copy_after_training_has_a_penalty_of_its_own(regression, tmp_path):
    make, data = regression
    module = trained(make(1.0), data, tmp_path, steps=2)
    other = copy.deepcopy(module)
    other.penalty().backward()
    assert other.first.weight_mu.grad is not module.first.weight_mu.grad
    assert float(other.first.weight_rho.grad.abs().max()) > 0.0
    trained(other, data, tmp_path, steps=2)
    assert not torch.equal(other.first.weight_mu, module.first.weight_mu)
