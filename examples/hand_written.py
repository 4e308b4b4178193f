"""A hand-written mean-field layer."""

import common
import torch
from torch import nn

from symdiag import StraddlingPenalty


class BayesLinear(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight_mu = nn.Parameter(torch.randn(outputs, inputs) / inputs**0.5)
        self.weight_rho = nn.Parameter(torch.full((outputs, inputs), -3.0))
        self.bias_mu = nn.Parameter(torch.zeros(outputs))
        self.bias_rho = nn.Parameter(torch.full((outputs,), -3.0))

    def pairs(self):
        softplus = nn.functional.softplus
        return [
            (self.weight_mu, softplus(self.weight_rho)),
            (self.bias_mu, softplus(self.bias_rho)),
        ]

    def forward(self, x):
        (w, sw), (b, sb) = self.pairs()
        return nn.functional.linear(x, w + sw * torch.randn_like(w), b + sb * torch.randn_like(b))


def train(steps, use_penalty):
    torch.manual_seed(0)
    x, y = common.wave()
    model = nn.Sequential()
    model.fc1, model.act, model.fc2 = (
        BayesLinear(1, common.WIDTH),
        nn.ReLU(),
        BayesLinear(common.WIDTH, 1),
    )
    penalty = StraddlingPenalty(model, activation="relu", scale_transform="softplus")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        loss = common.nll(model(x), y) + common.kl_to_unit_gaussian(
            model.fc1.pairs() + model.fc2.pairs()
        )
        if use_penalty:
            loss = loss + penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return measure(model)


def measure(model):
    penalty = StraddlingPenalty(model, activation="relu", scale_transform="softplus", draws=500)
    return penalty().item()


def main(steps):
    return common.report("hand-written", train(steps, False), train(steps, True))


if __name__ == "__main__":
    main(common.steps_from_command_line())
