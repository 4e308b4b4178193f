"""torchbnn: log sigma is stored; its own KL is a mean over weights by default."""

import common
import torch
import torchbnn
from torch import nn

from symdiag import StraddlingPenalty


def layer(inputs, outputs):
    return torchbnn.BayesLinear(
        prior_mu=0.0, prior_sigma=0.05, in_features=inputs, out_features=outputs
    )


def pairs(model):
    named = dict(model.named_parameters())
    return [
        (p, torch.exp(named[n.replace("_mu", "_log_sigma")]))
        for n, p in named.items()
        if n.endswith("_mu")
    ]


def train(steps, use_penalty):
    torch.manual_seed(0)
    x, y = common.wave()
    model = nn.Sequential(layer(1, common.WIDTH), nn.ReLU(), layer(common.WIDTH, 1))
    penalty = StraddlingPenalty(model, activation="relu")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        loss = common.nll(model(x), y) + common.kl_to_unit_gaussian(pairs(model))
        if use_penalty:
            loss = loss + penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return StraddlingPenalty(model, activation="relu", draws=500)().item()


def main(steps):
    return common.report("torchbnn", train(steps, False), train(steps, True))


if __name__ == "__main__":
    main(common.steps_from_command_line())
