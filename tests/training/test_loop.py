"""The loop: same streams for every objective, exact resume, divergence, early stopping, learning-rate schedule."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import torch
from training_examples import config, vector

from symdiag.errors import TrainingError, UsageError
from symdiag.objectives.terms import build_objective
from symdiag.training.config import ModelConfig, TrainingConfig, differences
from symdiag.training.job import (
    JobState,
    load_job,
    save_job,
)
from symdiag.training.loop import RunSettings, train
from symdiag.training.loss import loss_terms
from symdiag.training.metrics import JsonLines
from symdiag.training.optimiser import learning_rate
from symdiag.training.randomness import batch_indices, generator_for
from symdiag.workers import Workers


class StopAfter:
    """A stop request that arrives after so many steps."""

    def __init__(self, steps):
        self.left = steps

    @property
    def received(self):
        self.left -= 1
        return self.left <= 0


@pytest.mark.parametrize("objective", ["elbo", "symmetrized", "infonce"])
def test_training_improves_its_objective(problem, objective):
    records = []
    train(
        problem,
        config(problem, objective=objective, steps=200),
        RunSettings("x", sinks=[records.append]),
    )
    assert records[-1].objective > records[0].objective + 10.0
    assert [r.step for r in records] == list(range(10, 201, 10))
    assert records[-1].elbo == pytest.approx(records[-1].log_likelihood - records[-1].kl)


def test_reruns_are_bit_identical_and_seeds_matter(problem):
    runs = [vector(train(problem, config(problem, seed=s), RunSettings("x"))[0]) for s in (3, 3, 4)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_control_sees_the_same_noise_and_batches(problem, monkeypatch):
    """The streams are functions of (seed, step) alone, whatever the objective consumed."""
    seen = {}
    import symdiag.training.loss as module

    original = module.step_noise
    for objective in ("elbo", "symmetrized"):
        log = seen.setdefault(objective, [])
        monkeypatch.setattr(
            module, "step_noise", lambda *a, log=log: log.append(original(*a)) or log[-1]
        )
        train(problem, config(problem, objective=objective, steps=5), RunSettings("x"))
    assert all(torch.equal(a, b) for a, b in zip(seen["elbo"], seen["symmetrized"], strict=True))
    assert len(seen["elbo"]) == 5


def test_resuming_from_any_step_is_bit_exact(problem, tmp_path):
    whole = vector(train(problem, config(problem), RunSettings("x"))[0])
    for stop_after in (1, 10, 23):
        saved = []
        with pytest.raises(KeyboardInterrupt):
            train(
                problem,
                config(problem),
                RunSettings("x", stop=StopAfter(stop_after), save=saved.append),
            )
        assert saved[-1].step == stop_after
        path = tmp_path / f"{stop_after}.state"
        save_job(JobState({"a": 1}).with_run("x", saved[-1]), path)
        state = load_job(path, {"a": 1}).runs["x"]
        assert torch.equal(
            vector(train(problem, config(problem), RunSettings("x"), state)[0]), whole
        )


def test_divergence_keeps_the_last_good_state(problem):
    saved = []
    bad = dataclasses.replace(problem.train, targets=problem.train.targets * 1e200)
    broken = dataclasses.replace(problem, train=bad)
    with pytest.raises(TrainingError) as caught:
        train(broken, config(problem), RunSettings("x", save=saved.append))
    assert caught.value.code == "training-diverged"
    assert saved[-1].step == 0
    assert all(bool(torch.isfinite(t).all()) for t in saved[-1].tensors.values())


def test_early_stopping_and_fixed_length(problem):
    settings = config(
        problem,
        steps=400,
        patience=2,
        tolerance=1e6,
        straddling_weight_start=1.0,
        kl_weight_start=1.0,
    )
    _, state = train(problem, settings, RunSettings("x"))
    assert state.step == 30  # the first evaluation counts as progress, two more do not
    _, state = train(problem, settings, RunSettings("x", stop_at=50))
    assert state.step == 50


def test_schedule_warms_up_and_decays():
    rates = [learning_rate(t, 100, 0.5, 0.1) for t in range(100)]
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == rates[9] == 0.5
    assert rates[-1] < 1e-3
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert learning_rate(0, 10, 1.0, 0.0) == 1.0


def test_the_easing_fades_and_spares_other_objectives():
    config = TrainingConfig(steps=100, straddling_weight_start=4.0, kl_weight_start=0.01)
    weights = [config.straddling_weight(t) for t in range(100)]
    assert weights[0] == 4.0
    assert weights[20] == pytest.approx(2.5)
    assert set(weights[40:]) == {1.0}
    kl_weights = [config.kl_weight(t) for t in range(100)]
    assert kl_weights[0] == pytest.approx(0.01)
    assert kl_weights[20] == pytest.approx(0.1)
    assert set(kl_weights[40:]) == {1.0}
    for other in ("infonce", "elbo"):
        spared = TrainingConfig(objective=other).resolved(60, 61)
        assert (spared.straddling_weight(0), spared.kl_weight(0), spared.annealed_steps) == (
            1.0,
            1.0,
            0,
        )
        asked = TrainingConfig(steps=100, objective=other, kl_weight_start=0.01)
        assert {asked.straddling_weight(t) for t in range(100)} == {1.0}
        assert [asked.kl_weight(t) for t in range(100)] == kl_weights


def test_the_eased_loss_weighs_its_terms(problem):
    settings = config(problem, steps=100, straddling_weight_start=4.0, kl_weight_start=0.01)
    q = problem.start()
    objective = build_objective("symmetrized", problem.spec, q)
    for step, (kl_weight, straddling_weight) in {
        0: (0.01, 4.0),
        20: (0.1, 2.5),
        40: (1.0, 1.0),
    }.items():
        terms = loss_terms(problem, q, objective, settings, step, Workers())
        assert terms.loss.item() == pytest.approx(
            kl_weight * (terms.kl + straddling_weight * terms.term).item()
            - terms.log_likelihood.item()
        )


def test_early_stopping_waits_for_the_end_of_the_easing(problem):
    _, state = train(
        problem, config(problem, steps=200, patience=1, tolerance=1e6), RunSettings("x")
    )
    assert state.step == 90  # annealed up to 80


def test_batches_partition_each_epoch():
    epoch = np.concatenate([batch_indices(22, 8, 0, t) for t in range(2)])
    assert len(set(epoch)) == 16
    assert set(epoch) <= set(range(22))
    assert batch_indices(20, 20, 0, 3) is None
    assert not np.array_equal(batch_indices(100, 10, 0, 0), batch_indices(100, 10, 0, 10))


def test_streams_differ_by_every_coordinate():
    base = generator_for(0, "noise", 1, 0).standard_normal(4)
    for other in (
        generator_for(1, "noise", 1, 0),
        generator_for(0, "batch", 1, 0),
        generator_for(0, "noise", 2, 0),
        generator_for(0, "noise", 1, 1),
    ):
        assert not np.allclose(base, other.standard_normal(4))
    np.testing.assert_array_equal(base, generator_for(0, "noise", 1, 0).standard_normal(4))


def test_neighbouring_steps_do_not_share_random_numbers():
    """Counters are spaced so far apart that long streams cannot overlap."""
    long = generator_for(0, "noise", 0).standard_normal(50_000)
    assert not np.isin(generator_for(0, "noise", 1).standard_normal(8), long).any()
    assert not np.isin(generator_for(0, "noise", 0, 1).standard_normal(8), long).any()


def test_metrics_file_is_cut_back_to_the_state(problem, tmp_path):
    path = tmp_path / "m.jsonl"
    train(problem, config(problem), RunSettings("main", sinks=[JsonLines(path)]))
    full = path.read_text(encoding="utf-8")
    assert [json.loads(line)["step"] for line in full.splitlines()] == [10, 20, 30, 40]
    path.write_text(full + '{"phase": "main", "st', encoding="utf-8")
    JsonLines(path, resume_from=("main", 20))
    assert [json.loads(line)["step"] for line in path.read_text(encoding="utf-8").splitlines()] == [
        10,
        20,
    ]


def test_metrics_are_never_behind_the_state(problem):
    """A kill between the two may leave a metrics line too many, which resuming cuts off, but never one too few."""
    seen, saved = [], []
    settings = RunSettings(
        "x", sinks=[lambda r: seen.append(r.step)], save=lambda s: saved.append((s.step, len(seen)))
    )
    train(problem, config(problem), settings)
    assert saved == [(10, 1), (20, 2), (30, 3), (40, 4)]


def test_resume_refuses_other_settings_and_other_files(tmp_path):
    path = tmp_path / "s"
    save_job(JobState({"steps": 10, "seed": 0}), path)
    with pytest.raises(UsageError, match="steps: 10 → 20") as caught:
        load_job(path, {"steps": 20, "seed": 0})
    assert caught.value.code == "resume-mismatch"
    path.write_bytes(b"junk")
    with pytest.raises(TrainingError, match="cannot resume"):
        load_job(path, {})
    with pytest.raises(TrainingError):
        load_job(tmp_path / "absent", {})
    assert differences({"a": 1}, {"a": 1}) == []


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"learning_rate": -1.0},
        {"warmup": 1.0},
        {"draws": 0},
        {"num_elements": 1},
        {"seed": -1},
        {"kl_weight_start": 0.0},
        {"straddling_weight_start": 0.5},
    ],
)
def test_settings_out_of_range(options):
    with pytest.raises(UsageError) as caught:
        TrainingConfig(**options)
    assert caught.value.code == "bad-option"
    with pytest.raises(UsageError, match="noise must be a positive number or 'learn'"):
        ModelConfig(noise=0.0)
    with pytest.raises(UsageError, match="prior_std must be a positive number"):
        ModelConfig(prior_std=-1.0)
    # the bounds themselves are in range
    TrainingConfig(steps=1, draws=1, num_elements=2, seed=0, patience=0)
    ModelConfig(noise=0.3, prior_std=1.0)


def test_defaults_follow_the_problem():
    small = TrainingConfig().resolved(60, 61)
    assert (small.steps, small.batch_size, small.learning_rate) == (5000, 60, 1e-2)
    assert small.kl_weight_start < 1.0
    assert (
        TrainingConfig(steps=100).resolved(60, 61).kl_weight_start == 1.0
    )  # too short for stds to shrink and grow back
    # a wide net has far to go, and without minibatches a large rate costs nothing
    assert TrainingConfig().resolved(100, 2_001).learning_rate == 3e-2
    assert TrainingConfig(batch_size=20).resolved(100, 2_001).learning_rate == 1e-2
    large = TrainingConfig().resolved(60_000, 200_000)
    assert large.kl_weight_start == 1.0
    assert large.batch_size == 256
    assert large.steps == max(5000, 20 * math.ceil(60_000 / 256))
    assert large.learning_rate < small.learning_rate
