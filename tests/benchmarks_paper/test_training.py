"""The hand-written gradients against autograd and against the library's own objective."""

import numpy as np
import pytest
import torch

from benchmarks.paper.nets import Net, State, Task, initial, kl
from benchmarks.paper.training import Trainer, infonce_marginals, log_densities
from symdiag.objectives.group_term import GroupTerm
from symdiag.objectives.variational import Variational

NETS = [Net((2, 5, 1), "relu"), Net((2, 4, 1), "tanh"), Net((3, 5, 3), "relu")]


def _task(net):
    rng = np.random.default_rng(3)
    x = torch.tensor(rng.standard_normal((1, 7, net.sizes[0])))
    if net.sizes[-1] == 1:
        return Task(
            "gaussian",
            x,
            torch.tensor(rng.standard_normal((1, 7))),
            torch.tensor([0.4], dtype=torch.float64),
        )
    return Task("categorical", x, torch.tensor(rng.integers(0, 3, (1, 7))))


def _state(net):
    start = initial(net, [1], -0.7)
    return State(
        start.loc.double(),
        start.log_scale.double() + 0.1 * torch.sin(torch.arange(net.size)).double(),
    )


@pytest.mark.parametrize("net", NETS, ids=str)
def test_elbo_gradient_is_autograds(net):
    task, state = _task(net), _state(net)
    epsilon = np.random.default_rng(0).standard_normal((3, net.size))
    loc, log_scale = state.loc.clone().requires_grad_(), state.log_scale.clone().requires_grad_()
    draws = loc[:, None] + log_scale.exp()[:, None] * torch.from_numpy(epsilon)
    loss = kl(loc, log_scale) - task.log_prob(net.forward(draws, task.x), task.y).sum(-1).mean(1)
    loss.sum().backward()
    flat = np.stack([state.loc[0].numpy(), state.log_scale[0].numpy()])
    ours = Trainer(net, task).gradient(flat, epsilon, None, "elbo", np.random.default_rng(1))
    np.testing.assert_allclose(ours[0], loc.grad[0].numpy(), atol=1e-10)
    np.testing.assert_allclose(ours[1], log_scale.grad[0].numpy(), atol=1e-10)


@pytest.mark.parametrize("net", NETS, ids=str)
def test_symmetrised_gradient_is_the_librarys(net):
    task, state = _task(net), _state(net)
    epsilon = np.random.default_rng(0).standard_normal((3, net.size))
    posterior = net.posterior(state.loc[0], state.log_scale[0].exp())
    q = Variational.of(posterior)
    order = q.layout.split(torch.arange(net.size))
    assert torch.equal(torch.cat([t.reshape(-1) for t in order.values()]), torch.arange(net.size))
    draws = q.loc + q.scale * torch.from_numpy(epsilon)
    GroupTerm(net.spec.groups[0], q, "exact")(
        q.loc, q.scale, draws, np.random.default_rng(0)
    ).backward()
    flat = np.stack([state.loc[0].numpy(), state.log_scale[0].numpy()])
    trainer = Trainer(net, task)
    rng = np.random.default_rng(1)
    with_term, without = (
        trainer.gradient(flat, epsilon, None, o, rng, exact=True) for o in ("symmetrized", "elbo")
    )
    np.testing.assert_allclose((with_term - without)[0], q.loc.grad.numpy(), atol=1e-9)
    np.testing.assert_allclose((with_term - without)[1], q.log_scale.grad.numpy(), atol=1e-9)


@pytest.mark.parametrize("net", NETS[:2], ids=str)
def test_infonce_with_many_elements_has_the_permanents_gradient(net):
    """K → ∞ turns the weighted uniform permutations into the permanental marginals."""
    task, state = _task(net), _state(net)
    trainer = Trainer(net, task)
    flat = np.stack([state.loc[0].numpy(), state.log_scale[0].numpy()])
    epsilon = np.random.default_rng(0).standard_normal((1, net.size))
    rng = np.random.default_rng(1)
    plain, exact, sampled = (
        trainer.gradient(flat, epsilon, None, o, rng, 40_000, exact=True)
        for o in ("elbo", "symmetrized", "infonce")
    )
    assert np.abs(exact - plain).max() > 0.1
    np.testing.assert_allclose(sampled, exact, atol=0.15 * np.abs(exact - plain).max())


def test_infonce_marginals_are_doubly_stochastic():
    rng = np.random.default_rng(0)
    kept = log_densities(
        rng.standard_normal((4, 3)), np.ones((4, 3)), rng.standard_normal((2, 4, 3)), 1.0
    )
    plus, minus = infonce_marginals(kept, kept - 1.0, rng, 50)
    np.testing.assert_allclose((plus + minus).sum(1), 1.0)
    np.testing.assert_allclose((plus + minus).sum(2), 1.0)
