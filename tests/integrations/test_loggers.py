"""Each tracker gets every number of a report, by the signature of the tracker's own call.

TensorBoard is the real one where it is installed. Weights & Biases and MLflow are stand-ins with the signatures that
wandb 0.31 and MLflow 3.17 have, with which the functions were tried once: ``Run.log(data, step=None, commit=None)`` and
``mlflow.log_metrics(metrics, step=None, synchronous=None, run_id=None)``.
"""

import dataclasses
import inspect
import math
import sys
import types

import pytest

import symdiag.integrations as integrations
from symdiag.diagnostics.diagnosis import GroupReport, Total
from symdiag.errors import SymdiagError
from symdiag.estimate import Estimate
from symdiag.report import Report
from symdiag.report.kinds.analyze import ModelInfo, Settings
from symdiag.report.records import scalars


def estimate(value):
    return Estimate(value, 0.05, value - 0.1, value + 0.1, "subset-dp", 64)


def report(name="fc1"):
    group = GroupReport(name, 4, False, 3.18, estimate(2.0), estimate(1.18), 7.4, (), ())
    return Report(
        model=ModelInfo("model.pt", "0" * 64, "npz/handwritten", 8, 8, "relu", ()),
        groups=(group,),
        total=Total(3.18, estimate(2.0), dataclasses.replace(estimate(1.18), upper=math.inf), 7.4),
        findings=(),
        verdict="straddling",
        settings=Settings(0, 64, "layerwise", 1.0),
        tool={"name": "symdiag", "version": "0.1.0"},
    )


class Run:
    """A Weights & Biases run: one dictionary per step, and no way back."""

    def __init__(self):
        self.steps = []

    def log(self, data, step=None, commit=None):
        assert all(isinstance(v, float) for v in data.values())
        self.steps.append((step, dict(data)))


def stand_in(monkeypatch, name, **members):
    module = types.ModuleType(name)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)


def test_wandb_gets_one_step_with_every_number(monkeypatch):
    run, other = Run(), Run()
    stand_in(monkeypatch, "wandb", run=run)
    found = integrations.log_to_wandb(report(), step=7)
    assert run.steps == [(7, found)]
    assert found["symdiag/total_straddling_entropy"] == 2.0
    assert found["symdiag/groups/fc1/straddling_entropy"] == 2.0
    assert len(found) == len(scalars(report()))
    integrations.log_to_wandb(report(), other, prefix="before")
    assert other.steps[0][0] is None
    assert all(name.startswith("before/") for name in other.steps[0][1])


def test_wandb_without_a_run_is_refused(monkeypatch):
    stand_in(monkeypatch, "wandb", run=None)
    with pytest.raises(SymdiagError, match="no Weights & Biases run"):
        integrations.log_to_wandb(report())


def test_mlflow_gets_names_it_allows(monkeypatch):
    calls = []

    def log_metrics(metrics, step=None, synchronous=None, run_id=None):
        # as MLflow checks them: alphanumerics and _ - . space : /
        assert all(c.isascii() and (c.isalnum() or c in "_-. :/") for name in metrics for c in name)
        calls.append((metrics, step, run_id))

    stand_in(monkeypatch, "mlflow", log_metrics=log_metrics)
    found = integrations.log_to_mlflow(report("enc[0]|ω"), step=3, run_id="abc")
    assert calls == [(found, 3, "abc")]
    assert found["symdiag/groups/enc_0___/straddling_entropy"] == 2.0


def test_tensorboard_reads_the_numbers_back(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = integrations.log_to_tensorboard(report(), tmp_path, step=5)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert set(events.Tags()["scalars"]) == set(found)
    for name, value in found.items():
        (event,) = events.Scalars(name)
        assert (event.step, event.value) == (5, pytest.approx(value, rel=1e-6))
    assert events.Tags()["tensors"] == ["symdiag/report/text_summary"]


@pytest.mark.parametrize(
    ("call", "module", "package"),
    [
        (lambda: integrations.log_to_wandb(report()), "wandb", "wandb"),
        (lambda: integrations.log_to_mlflow(report()), "mlflow", "mlflow"),
        (
            lambda: integrations.log_to_tensorboard(report(), "runs"),
            "torch.utils.tensorboard",
            "tensorboard",
        ),
    ],
)
def test_a_missing_tracker_says_how_to_get_it(call, module, package, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SymdiagError) as caught:
        call()
    assert caught.value.code == "missing-extra"
    assert caught.value.hint == f"pip install {package}"


def test_without_lightning_the_callback_says_how_to_get_it(monkeypatch):
    for name in ("lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SymdiagError) as caught:
        integrations.StraddlingMonitor  # noqa: B018
    assert caught.value.hint == "pip install lightning"


def test_every_function_names_what_it_returns():
    for name in ("log_to_tensorboard", "log_to_wandb", "log_to_mlflow"):
        assert (
            inspect.signature(getattr(integrations, name)).return_annotation == "dict[str, float]"
        )
