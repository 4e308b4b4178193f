"""bayesian-torch: its own KL is a mean per tensor, so the sum is computed here."""

import common
import torch
from bayesian_torch.layers import LinearReparameterization
from torch import nn

from symdiag import StraddlingPenalty


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = LinearReparameterization(1, common.WIDTH)
        self.fc2 = LinearReparameterization(common.WIDTH, 1)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x, return_kl=False)), return_kl=False)

    def pairs(self):
        softplus = nn.functional.softplus
        return [
            (getattr(fc, f"mu_{part}"), softplus(getattr(fc, f"rho_{part}")))
            for fc in (self.fc1, self.fc2)
            for part in ("weight", "bias")
        ]


def train(steps, use_penalty):
    torch.manual_seed(0)
    x, y = common.wave()
    model = Net()
    penalty = StraddlingPenalty(model, activation="relu")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        loss = common.nll(model(x), y) + common.kl_to_unit_gaussian(model.pairs())
        if use_penalty:
            loss = loss + penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return StraddlingPenalty(model, activation="relu", draws=500)().item()


def main(steps):
    return common.report("bayesian-torch", train(steps, False), train(steps, True))


if __name__ == "__main__":
    main(common.steps_from_command_line())
