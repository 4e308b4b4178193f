"""Pyro: the penalty as one more term of a custom loss over an AutoNormal guide."""

import common
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroSample
from torch import nn

from symdiag import StraddlingPenalty


class Net(PyroModule):
    def __init__(self):
        super().__init__()
        self.fc1 = PyroModule[nn.Linear](1, common.WIDTH)
        self.fc2 = PyroModule[nn.Linear](common.WIDTH, 1)
        for linear in (self.fc1, self.fc2):
            for name, value in list(linear.named_parameters()):
                prior = dist.Normal(torch.zeros(value.shape), 1.0).to_event(value.dim())
                setattr(linear, name, PyroSample(prior))

    def forward(self, x, y=None):
        mean = self.fc2(torch.relu(self.fc1(x)))
        with pyro.plate("data", len(x)):
            pyro.sample(
                "obs", dist.Normal(mean[:, 0], common.NOISE), obs=None if y is None else y[:, 0]
            )
        return mean


def train(steps, use_penalty):
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    x, y = common.wave()
    model = Net()
    guide = AutoNormal(model, init_scale=0.05)
    guide(x, y)  # sets up its parameters
    penalty = StraddlingPenalty(guide, activation="relu")
    elbo = Trace_ELBO()
    optimizer = torch.optim.Adam(guide.parameters(), lr=1e-2)
    for _ in range(steps):
        loss = elbo.differentiable_loss(model, guide, x, y)
        if use_penalty:
            loss = loss + penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return StraddlingPenalty(guide, activation="relu", draws=500)().item()


def main(steps):
    return common.report("Pyro", train(steps, False), train(steps, True))


if __name__ == "__main__":
    main(common.steps_from_command_line())
