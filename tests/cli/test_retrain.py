"""The command: report in every format, schema, refusals, nothing overwritten."""

import json
import math
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))

from training_examples import wave, write_checkpoint

from symdiag import formats
from symdiag.cli.main import main
from symdiag.priors import ScaleMixturePrior
from symdiag.report import format_names, from_dict, render
from symdiag.report.schemas import schema_text
from symdiag.training.config import EvaluationConfig, TrainingConfig

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
FAST = [
    "--activation",
    "relu",
    "--noise",
    "0.3",
    "--prior-std",
    "1",
    "--steps",
    "30",
    "--draws",
    "4",
]
FAST += ["--samples", "50", "--budget", "0.2", "-q"]


@pytest.fixture
def files(tmp_path):
    write_checkpoint(tmp_path / "model.pt")
    for name, seed in (("train", 0), ("test", 1)):
        x, y = wave(40, seed)
        np.savez(tmp_path / f"{name}.npz", X=x, y=y)
    return tmp_path


def run(files, *more, base=FAST):
    return main(
        ["retrain", str(files / "model.pt"), "--data", str(files / "train.npz"), *base, *more]
    )


@pytest.fixture
def report(files, capsys):
    code = run(
        files,
        "--test",
        str(files / "test.npz"),
        "-o",
        str(files / "out.pt"),
        "--format",
        "json",
        "--keep-worse",
    )
    assert code in (0, 1)
    return json.loads(capsys.readouterr().out)


def test_json_follows_the_schema_and_renders_in_every_format(report):
    jsonschema.validate(report, json.loads(schema_text("retrain")))
    assert report["verdict"] in ("improved", "no measurable benefit", "worse")
    for name in format_names():
        text = render(from_dict(report), name)
        assert text.strip()
        assert "model.pt" in text.replace("\n", "")  # a long path wraps


def test_figures_are_consistent(report):
    for run_name in ("before", "control", "retrained"):
        f = report[run_name]
        assert f["elbo"]["value"] == pytest.approx(f["log_likelihood"]["value"] - f["kl"])
        expected = f["elbo"]["value"] + report["log_order"] - f["straddling_entropy"]["value"]
        assert f["symmetrized"]["value"] == pytest.approx(expected)
        assert f["symmetrized"]["lower"] < f["symmetrized"]["value"] < f["symmetrized"]["upper"]
    changes = {c["name"]: c for c in report["changes"]}
    for name in ("elbo", "symmetrized", "straddling_entropy"):
        difference = report["retrained"][name]["value"] - report["control"][name]["value"]
        assert changes[name]["value"] == pytest.approx(difference, abs=1e-9)
    best = max(report[r]["symmetrized"]["lower"] for r in ("before", "control", "retrained"))
    assert report["bound"]["value"] == best
    assert report["settings"]["control_runs"] == 4
    assert report["run_to_run"] > 0


def test_every_run_is_listed_and_the_best_control_is_the_reference(report):
    runs = {r["name"]: r for r in report["runs"]}
    kinds = ["before", "main", "continued", "continued", "continued", "scratch"]
    assert [r["kind"] for r in runs.values()] == kinds
    controls = [r for r in runs.values() if r["name"].startswith("control-")]
    best = max(controls, key=lambda r: r["symmetrized"]["value"])
    assert report["compared_run"] == best["name"]
    for name, figures in (
        ("before", "before"),
        ("retrained", "retrained"),
        (best["name"], "control"),
    ):
        for term in ("elbo", "straddling_entropy", "symmetrized"):
            assert runs[name][term] == report[figures][term]
        assert runs[name]["test"] == report[figures]["test"]
    assert report["best_evidence"] == max(runs, key=lambda n: runs[n]["symmetrized"]["value"])
    assert report["best_predictions"] == min(runs, key=lambda n: runs[n]["test"]["nll"])
    text = render(from_dict(report), "text")
    lowest = report["best_predictions"]
    assert f"Highest L^G: {report['best_evidence']}; lowest test NLL: {lowest}." in text
    # reports from before there was such a list have another reference, and say no more than they know
    old = {k: v for k, v in report.items() if k not in LATER}
    jsonschema.validate(old, json.loads(schema_text("retrain")))
    for name in format_names():
        text = render(from_dict(old), name)
        assert "All runs" not in text
        assert "(plain ELBO" not in text


LATER = ("runs", "compared_run", "best_evidence", "best_predictions", "race")


def test_a_race_is_reported_and_trains_where_the_checkpoint_had_nothing_to_gain(files, capsys):
    """Next to no stds: no straddling, so that without other starts it would not train."""
    state = torch.load(files / "model.pt", weights_only=True)
    torch.save({k: v - 9.0 if "rho" in k else v for k, v in state.items()}, files / "model.pt")
    assert run(files, "--control-runs", "0", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "nothing to gain"
    more = ["--starts", "3", "--control-runs", "0", "--exit-zero", "--format", "json"]
    assert run(files, *more) == 0
    report = json.loads(capsys.readouterr().out)
    jsonschema.validate(report, json.loads(schema_text("retrain")))
    race = report["race"]
    assert [r["origin"] for r in race] == ["start", "draw", "scratch"]
    assert [r["steps"] for r in race] == [6, 6, 6]
    (chosen,) = (r for r in race if r["chosen"])
    assert chosen["symmetrized"]["value"] == max(r["symmetrized"]["value"] for r in race)
    text = " ".join(render(from_dict(report), "text").split())
    assert (
        f"after 6 steps each of the retrained run's objective. It went on from {chosen['name']},"
        in text
    )


def test_a_gain_over_a_straddled_optimum_is_none_over_a_fresh_net(files, capsys):
    """The prior itself as checkpoint: more plain training hardly leaves it, a fresh net fits the data."""
    state = torch.load(files / "model.pt", weights_only=True)
    for name, value in state.items():
        value.fill_(math.log(math.expm1(1.0)) if "rho" in name else 0.0)
    torch.save(state, files / "model.pt")
    more = ["--steps", "60", "--learning-rate", "0.02", "--exit-zero", "--format", "json"]
    assert run(files, *more) == 0
    report = json.loads(capsys.readouterr().out)
    value = {r["name"]: r["symmetrized"]["value"] for r in report["runs"]}
    continued, fresh = (value[f"control-{k}"] for k in (1, 4))
    assert fresh > continued + 5.0
    assert report["compared_run"] == "control-4"
    gain = next(c["value"] for c in report["changes"] if c["name"] == "symmetrized")
    assert gain == pytest.approx(value["retrained"] - fresh)
    text = " ".join(render(from_dict(report), "text").split())
    assert "against the best control run (plain ELBO from scratch)" in text
    # the control that one run alone would have been compared with tells another story
    assert run(files, *more, "--control-runs", "1") == 0
    one = json.loads(capsys.readouterr().out)
    assert one["compared_run"] == "control-1"
    assert one["changes"] != report["changes"]
    text = " ".join(render(from_dict(one), "text").split())
    assert "against the control run (plain ELBO, continued)" in text


def test_output_is_the_librarys_own_format(report, files):
    before, after = (torch.load(files / name, weights_only=True) for name in ("model.pt", "out.pt"))
    assert before.keys() == after.keys()
    assert all(
        before[k].dtype == after[k].dtype and before[k].shape == after[k].shape for k in before
    )
    assert not torch.equal(before["fc1.mu_weight"], after["fc1.mu_weight"])
    assert formats.load(files / "out.pt").source.dialect == "bayesian-torch"
    assert not (files / "out.pt.state").exists()


def test_without_control_the_checkpoint_is_the_reference(files, capsys):
    assert run(files, "--no-control", "--format", "json") in (0, 1)
    report = json.loads(capsys.readouterr().out)
    assert report["compared_with"] == "before"
    assert report["control"] is None
    assert report["run_to_run"] is None
    assert report["output"] is None


def test_worse_is_not_written_unless_asked(files, capsys):
    """A trained posterior, then a learning rate that ruins it."""
    shared = ["--no-control", "--patience", "0", "--objective", "elbo"]
    train = [str(files / "train.npz"), *FAST, *shared]
    good, out = str(files / "good.pt"), str(files / "out.pt")
    assert (
        main(
            [
                "retrain",
                str(files / "model.pt"),
                "--data",
                *train,
                "-o",
                good,
                "--learning-rate",
                "0.2",
            ]
        )
        == 0
    )
    bad = ["retrain", good, "--data", *train, "-o", out, "--learning-rate", "5"]
    assert main(bad) == 1
    assert "WORSE" in capsys.readouterr().out
    assert not (files / "out.pt").exists()
    assert (files / "out.pt.state").exists()
    assert main([*bad, "--resume", "--keep-worse", "--exit-zero"]) == 0
    assert (files / "out.pt").exists()


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["-o", "model.pt"], "would-overwrite"),
        (["-o", "train.npz"], "exists"),
        (["-o", "nowhere/out.pt"], "write-failed"),
        (["-o", "test.npz"], "exists"),
        (["--noise", "loud"], "bad-option"),
        (["--prior-std", "fc9=1"], "bad-option"),
        (["--prior-mixture", "0.5,1,0.1"], "bad-option"),
        (["--prior-mixture", "fc1=0.5,1"], "bad-option"),
        (["--likelihood", "cauchy"], "bad-option"),
        (["--likelihood", "categorical"], "bad-option"),
        (["--objective", "magic"], "bad-option"),
        (["--from", "mars"], "bad-option"),
        (["--resume"], "bad-option"),
        (["--resume", "-o", "new.pt"], "resume-failed"),
        (["--learning-rate", "-1"], "bad-option"),
    ],
)
def test_refusals_name_a_code_and_touch_nothing(files, capsys, monkeypatch, more, code):
    monkeypatch.chdir(files)
    before = {p.name: p.read_bytes() for p in files.iterdir() if p.is_file()}
    assert run(files, *more) == 2
    assert f"error[{code}]" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in files.iterdir() if p.is_file()} == before


def test_unknown_prior_and_activation_are_asked_for(files, capsys):
    base = ["--steps", "5", "-q"]
    assert run(files, base=[*base, "--activation", "relu"]) == 2
    assert "error[prior-unknown]" in capsys.readouterr().err
    assert run(files, base=[*base, "--prior-std", "1"]) == 2
    assert "--activation" in capsys.readouterr().err


def test_a_mixture_prior_is_trained_under_and_said(files, capsys):
    base = [word for word in FAST if word not in ("--prior-std", "1")]
    mixture = ["--prior-mixture", "0.5,1,0.05", "--prior-mixture", "fc2=.2,2,.5"]
    code = run(files, *mixture, "--format", "json", "--control-runs", "1", "--anyway", base=base)
    assert code in (0, 1)
    report = json.loads(capsys.readouterr().out)
    said = "0.5 N(0, 1²) + 0.5 N(0, 0.05²); fc2 0.2 N(0, 2²) + 0.8 N(0, 0.5²)"
    assert report["settings"]["prior"] == said
    posterior = formats.load(files / "model.pt")
    both = {"fc1": ((0.5, 1.0), (0.5, 0.05)), "fc2": ((0.2, 2.0), (0.8, 0.5))}
    prior = ScaleMixturePrior({n: both[n.partition(".")[0]] for n in posterior.names})
    assert report["before"]["kl"] == pytest.approx(posterior.kl_to(prior), rel=1e-6)
    for kind in ("before", "retrained"):
        found = report[kind]
        assert found["elbo"]["value"] == pytest.approx(
            found["log_likelihood"]["value"] - found["kl"], rel=1e-9
        )


def test_divergence_has_its_code_and_a_usable_state(files, capsys):
    x, y = wave(40, 0)
    np.savez(files / "train.npz", X=x, y=y * 1e200)
    assert run(files, "-o", str(files / "out.pt")) == 2
    assert "error[training-diverged]" in capsys.readouterr().err
    assert not (files / "out.pt").exists()


def test_library_call_returns_report_and_posterior(files):

    from symdiag import retrain

    result = retrain(
        files / "model.pt",
        files / "train.npz",
        start="scratch",
        training=TrainingConfig(steps=20, draws=4, objective="infonce"),
        noise=0.3,
        prior_std=1.0,
        activation="relu",
        evaluation=EvaluationConfig(samples=20, budget=0.2),
        control_runs=0,
    )
    assert result.report.settings.objective == "infonce"
    assert result.report.settings.start == "scratch"
    assert result.posterior.names == formats.load(files / "model.pt").names


def test_the_users_module_computes_the_outputs(files, capsys, monkeypatch):
    """A module that hands its inputs through makes the log-likelihood a closed form."""
    (files / "handing_through.py").write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.fc1, self.fc2 = nn.Linear(1, 5), nn.Linear(5, 1)\n\n"
        "    def forward(self, x):\n"
        "        return x + 0.0 * self.fc2(torch.relu(self.fc1(x)))\n"
    )
    monkeypatch.chdir(files)
    options = [*FAST[2:], "--model", "handing_through:Net", "--no-control", "--format", "json"]
    assert run(files, "-o", str(files / "out.pt"), base=options) in (0, 1)
    report = json.loads(capsys.readouterr().out)
    x, y = wave(40, 0)
    expected = -0.5 * np.sum(((y - x[:, 0]) / 0.3) ** 2 + np.log(2 * np.pi * 0.3**2))
    for name in ("before", "retrained"):
        assert report[name]["log_likelihood"]["value"] == pytest.approx(expected, rel=1e-6)
    assert (
        report["retrained"]["kl"] < report["before"]["kl"]
    )  # the prior is all that is left to fit
    assert formats.load(files / "out.pt").shapes == formats.load(files / "model.pt").shapes


def test_without_straddling_it_says_so_and_does_not_train(tmp_path, capsys):
    """wave-healthy sits in one mode: the objectives are the same there, up to a hundredth of a nat."""
    given = ["--activation", "relu", "--noise", "0.3", "--prior-std", "1", "--steps", "5"]
    given += ["--control-runs", "1", "--samples", "500", "-o", str(tmp_path / "out.pt"), "-q"]
    command = ["retrain", str(SAMPLES / "wave-healthy.pt"), "--data", str(SAMPLES / "wave.npz")]
    assert main([*command, *given, "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["verdict"] == "nothing to gain"
    assert report["settings"]["steps_taken"] == 0
    assert report["before"]["straddling_entropy"]["upper"] < 0.05
    assert report["output"] is None
    assert list(tmp_path.iterdir()) == []
    assert main([*command, *given, "--anyway", "--format", "json"]) in (0, 1)
    assert json.loads(capsys.readouterr().out)["settings"]["steps_taken"] == 5


def test_better_evidence_with_worse_predictions_is_a_finding(files, capsys, monkeypatch):
    """Its own word, exit code 1, and no file unless asked for."""
    import symdiag.tasks._retrain_report as module

    monkeypatch.setattr(
        module, "verdict_of", lambda evidence, predictions: "evidence up, predictions worse"
    )
    out = files / "out.pt"
    assert run(files, "-o", str(out), "--format", "json") == 1
    assert json.loads(capsys.readouterr().out)["verdict"] == "evidence up, predictions worse"
    assert not out.exists()
    assert run(files, "-o", str(out), "--resume", "--keep-worse", "--exit-zero") == 0
    assert out.exists()
