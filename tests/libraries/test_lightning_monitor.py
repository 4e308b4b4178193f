"""The callback under a real Trainer: measures, warns, stops, resumes, and leaves the training as it is."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import symdiag
from symdiag.errors import SymdiagError

WIDTH = 6


class MeanField(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight_mu = nn.Parameter(torch.randn(outputs, inputs))
        self.weight_rho = nn.Parameter(torch.zeros(outputs, inputs))

    def forward(self, x):
        noise = torch.randn_like(self.weight_mu)
        return F.linear(x, self.weight_mu + F.softplus(self.weight_rho) * noise)


@pytest.fixture
def fit(tmp_path):
    """Trains a new module for some epochs; returns it, the trainer and the metrics logged."""
    lightning = pytest.importorskip("lightning")

    class Regression(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.net = nn.Sequential(MeanField(2, WIDTH), nn.Tanh(), MeanField(WIDTH, 1))

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, index):
            x, y = batch
            return (y - self(x)).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=1e-2)

    x = torch.linspace(-2, 2, 16)[:, None].repeat(1, 2)
    data = torch.utils.data.TensorDataset(x, torch.sin(x[:, :1]))

    def run(callbacks, epochs, resume=None):
        trainer = lightning.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=False,
            callbacks=callbacks,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        module = Regression()
        trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=8), ckpt_path=resume)
        return module, trainer

    return run


def monitor(**options):
    from symdiag.integrations import StraddlingMonitor

    return StraddlingMonitor(**{"scale_transform": "softplus", "samples": 8, **options})


def test_it_measures_what_analyze_does_and_changes_nothing(fit):
    watch = monitor(action="log")
    with_it, trainer = fit([watch], 2)
    without, _ = fit([], 2)
    for mine, other in zip(with_it.parameters(), without.parameters(), strict=True):
        assert torch.equal(mine, other)
    direct = symdiag.analyze(with_it, scale_transform="softplus", samples=8, budget=1.0)
    entropy = direct.total.straddling_entropy.value
    assert [epoch for epoch, _ in watch.history] == [0, 1]
    assert watch.history[-1][1] == entropy
    logged = trainer.callback_metrics
    assert float(logged["symdiag/H"]) == pytest.approx(entropy, rel=1e-6)
    (group,) = direct.groups
    assert float(logged[f"symdiag/H/{group.name}"]) == pytest.approx(entropy, rel=1e-6)


def test_it_stops_after_its_patience_and_says_why(fit):
    watch = monitor(action="stop", max_straddling=0.0, patience=2, start_epoch=1)
    with pytest.warns(RuntimeWarning, match="training stops"):
        _, trainer = fit([watch], 9)
    assert [epoch for epoch, _ in watch.history] == [1, 2]
    assert trainer.current_epoch == 3


def test_it_warns_and_goes_on(fit):
    watch = monitor(max_straddling=0.0, patience=1, every_n_epochs=2)
    with pytest.warns(RuntimeWarning, match="above 0 at 1 measurements"):
        _, trainer = fit([watch], 3)
    assert [epoch for epoch, _ in watch.history] == [0, 2]
    assert trainer.current_epoch == 3


def test_a_resumed_training_goes_on_counting(fit, tmp_path):
    first = monitor(action="log")
    _, trainer = fit([first], 1)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    second = monitor(action="log")
    fit([second], 2, resume=tmp_path / "last.ckpt")
    assert [epoch for epoch, _ in second.history] == [0, 1]
    assert second.history[0] == first.history[0]


def test_what_cannot_be_read_fails_before_the_first_step(fit):
    watch = monitor(source=lambda module: nn.Linear(2, 2))
    with pytest.raises(SymdiagError):
        fit([watch], 1)
    assert watch.history == []


def test_the_source_may_be_a_part_of_the_module(fit):
    watch = monitor(action="log", source=lambda module: module.net)
    fit([watch], 1)
    assert len(watch.history) == 1


def test_it_is_a_callback_that_can_be_pickled():
    lightning = pytest.importorskip("lightning")
    watch = monitor(patience=4)
    assert isinstance(watch, lightning.Callback)
    assert type(pickle.loads(pickle.dumps(watch))) is type(watch)
    assert copy.deepcopy(watch).patience == 4


@pytest.mark.parametrize("options", [{"action": "halt"}, {"patience": 0}, {"every_n_epochs": 0}])
def test_wrong_options_are_refused(options):
    pytest.importorskip("lightning")
    with pytest.raises(SymdiagError) as caught:
        monitor(**options)
    assert caught.value.code == "bad-option"
