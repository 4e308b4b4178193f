"""torch-uncertainty: ``weight_sigma`` is really rho (softplus), and its KL is averaged over layers."""

import common
import torch
from torch import nn
from torch_uncertainty.layers import BayesLinear

from symdiag import StraddlingPenalty


def samplers(model):
    return [
        s for m in model if isinstance(m, BayesLinear) for s in (m.weight_sampler, m.bias_sampler)
    ]


def train(steps, use_penalty):
    torch.manual_seed(0)
    x, y = common.wave()
    model = nn.Sequential(BayesLinear(1, common.WIDTH), nn.ReLU(), BayesLinear(common.WIDTH, 1))
    penalty = StraddlingPenalty(model, activation="relu")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        pairs = [(s.mu, nn.functional.softplus(s.rho)) for s in samplers(model)]
        loss = common.nll(model(x), y) + common.kl_to_unit_gaussian(pairs)
        if use_penalty:
            loss = loss + penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return StraddlingPenalty(model, activation="relu", draws=500)().item()


def main(steps):
    return common.report("torch-uncertainty", train(steps, False), train(steps, True))


if __name__ == "__main__":
    main(common.steps_from_command_line())
