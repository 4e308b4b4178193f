"""Several processes do what one does: the same draws, divided among them; one that dies stops all."""

import shlex

import numpy as np
import pytest
import torch
from training_examples import wait_for, wave, write_checkpoint

from symdiag import formats
from symdiag.objectives.terms.infonce import InfoNCE
from symdiag.objectives.terms.symmetrized import Symmetrized
from symdiag.objectives.variational import Variational
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group, Member, PermutationSpec
from symdiag.training.config import TrainingConfig
from symdiag.training.loss import Monitor, loss_terms
from symdiag.training.randomness import generator_for
from symdiag.workers import Share, Workers

DRAWS = 5  # no multiple of the processes


def layer(width, inputs=2, *, signed=False, recurrent=False):
    """A hidden layer of so many units, which may also read itself, and its posterior."""
    shapes = {"w": (width, inputs), "b": (width,), "v": (1, width)}
    members = [Member("w", 0), Member("b", 0), Member("v", 1)]
    if recurrent:
        shapes["u"] = (width, width)
        members += [Member("u", 0), Member("u", 1)]
    rng = np.random.default_rng(0)
    loc = {n: 0.5 * rng.standard_normal(s) for n, s in shapes.items()}
    posterior = Posterior(loc, {n: np.full(s, 0.6) for n, s in shapes.items()})
    return posterior, PermutationSpec((Group("h", width, tuple(members), signed),))


CASES = {
    "exact": (layer(5), Symmetrized, {}),
    "bethe": (layer(5), Symmetrized, {"marginals": "bethe"}),
    "chain of densities": (layer(140, signed=True), Symmetrized, {"value_every": 0}),
    "chain on a matrix": (layer(140, inputs=70), Symmetrized, {"value_every": 0}),
    "recurrent": (layer(4, recurrent=True), Symmetrized, {"value_every": 0}),
    "infonce": (layer(5), InfoNCE, {}),
}


def gradient(case, draws, share=None):
    """By means and stds, of two calls in a row: a table of partners is made by the first alone."""
    (posterior, spec), kind, options = CASES[case]
    q = Variational.of(posterior)
    term = kind(spec, **options) if kind is InfoNCE else kind(spec, q, **options)
    noise = torch.from_numpy(draws[slice(None) if share is None else share.picked])
    for step in range(2):
        q.loc.grad = q.log_scale.grad = None
        term.term(q, q.loc + q.scale * noise, generator_for(0, "marginals", step), share).backward()
    return torch.cat([q.loc.grad, q.log_scale.grad])


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_the_mean_over_processes_is_the_gradient_of_one(case, world):
    """To rounding: every draw has the same chain wherever it is evaluated."""
    size = CASES[case][0][0].num_parameters
    draws = np.random.default_rng(1).standard_normal((DRAWS, size))
    parts = [gradient(case, draws, Share(DRAWS, rank, world)) for rank in range(world)]
    torch.testing.assert_close(
        torch.stack(parts).mean(0), gradient(case, draws), rtol=1e-10, atol=1e-12
    )


def loss_gradient(problem, config, workers):
    q = problem.start()
    objective = Symmetrized(problem.spec, q)
    loss_terms(problem, q, objective, config, 3, workers).loss.backward()
    return torch.cat([q.loc.grad, q.log_scale.grad])


@pytest.mark.parametrize(("draws", "world"), [(5, 2), (1, 2)])
def test_a_step_of_several_processes_is_that_of_one(problem, draws, world):
    """Batch and draws are those of one process, which would have as many draws as there are processes."""
    settings = {"steps": 5, "batch_size": 16, "learning_rate": 0.01, "interval": 5}
    config = TrainingConfig(draws=draws, **settings).resolved(40, 16)
    parts = [loss_gradient(problem, config, Workers(rank, world)) for rank in range(world)]
    same = TrainingConfig(draws=max(draws, world), **settings).resolved(40, 16)
    whole = loss_gradient(problem, same, Workers())
    torch.testing.assert_close(torch.stack(parts).mean(0), whole, rtol=1e-10, atol=1e-12)


def test_a_draw_of_a_large_net_is_the_same_in_every_division(problem, monkeypatch):
    """There every draw has a stream of its own, so that no process makes those of the others."""
    from symdiag.training import loss

    monkeypatch.setattr(loss, "_OWN_STREAM", 1)
    config = TrainingConfig(steps=5, draws=5).resolved(40, 16)
    whole = loss.step_noise(problem, config, 2, Workers())
    parts = [loss.step_noise(problem, config, 2, Workers(rank, 2)) for rank in (0, 1)]
    assert torch.equal(parts[0], whole[0::2])
    assert torch.equal(parts[1], whole[1::2])
    assert len(whole.unique()) == whole.numel()


def test_the_monitor_adds_up_to_that_of_one_process(problem, monkeypatch):
    seen = []
    monkeypatch.setattr(Workers, "sum", lambda self, values: seen.append(values) or tuple(values))
    q = problem.start()
    for workers in (Workers(), Workers(0, 3), Workers(1, 3), Workers(2, 3)):
        Monitor(problem, 0, workers)(q)
    whole, *parts = np.array(seen)
    # fit and KL are the same draws; so are the permanents of so narrow a layer, which are exact
    np.testing.assert_allclose(np.sum(parts, 0), whole, rtol=1e-10)


def tensors(path):
    posterior = formats.load(path)
    return [*posterior.loc.values(), *posterior.scale.values()]


def test_kill_minus_nine_of_one_process_then_resume_is_bit_exact(start_all, end_of, tmp_path):
    """Wide enough to be sampled: the tables of partners must come back as well."""
    checkpoint = write_checkpoint(tmp_path / "model.pt", width=14)
    x, y = wave(40, 0)
    np.savez(tmp_path / "train.npz", X=x, y=y)
    options = shlex.split(
        "--activation relu --noise 0.3 --prior-std 1 --patience 0 --draws 5 --budget 0.1 --samples 16 "
        "--steps 120 --interval 10 --no-control --anyway --keep-worse -q --batch-size 16"
    )

    def command(name, *more):
        data, out = str(tmp_path / "train.npz"), str(tmp_path / name)
        return ("retrain", str(checkpoint), "--data", data, "-o", out, *options, *more)

    broken = start_all(*command("out.pt"))
    wait_for(tmp_path / "out.pt.state", broken[0])
    broken[0].kill()
    codes, outputs = end_of(broken)
    assert codes == [-9, 2]
    assert "process-lost" in outputs[1][1]
    assert not (tmp_path / "out.pt").exists()

    for given in (command("out.pt", "--resume"), command("whole.pt")):
        codes, outputs = end_of(start_all(*given))
        assert codes[0] in (0, 1), outputs
        assert codes[1] == 0, (codes, outputs)
        assert outputs[1] == ("", "")
    for found, expected in zip(
        tensors(tmp_path / "out.pt"), tensors(tmp_path / "whole.pt"), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
