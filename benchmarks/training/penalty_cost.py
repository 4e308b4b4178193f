"""What ``StraddlingPenalty`` adds to a user's own step: ``python -m benchmarks.training.penalty_cost [ROUNDS]``.

The user's step is that of ``examples/hand_written.py``: layers with a std per weight, one weight draw, 200 points, the
full KL, Adam. The same step with the penalty (8 draws) is timed beside it, in turn, in CPU time. ``rho`` is where the
stds start: at 0 (std 0.69) the units straddle and nearly every swap is taken, at -3 (0.05) hardly any.
"""

import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from symdiag import StraddlingPenalty

POINTS, STEPS = 200, 100  # a round has one of the values, which every hundredth call works out


class Layer(nn.Module):
    """A mean-field layer as people write it."""

    def __init__(self, inputs, outputs, rho):
        super().__init__()
        self.weight_mu = nn.Parameter(torch.randn(outputs, inputs) / inputs**0.5)
        self.weight_rho = nn.Parameter(torch.full((outputs, inputs), rho))
        self.bias_mu = nn.Parameter(torch.zeros(outputs))
        self.bias_rho = nn.Parameter(torch.full((outputs,), rho))

    def forward(self, x):
        """Outputs for one draw of the weights."""
        w = self.weight_mu + F.softplus(self.weight_rho) * torch.randn_like(self.weight_mu)
        b = self.bias_mu + F.softplus(self.bias_rho) * torch.randn_like(self.bias_mu)
        return F.linear(x, w, b)

    def kl(self):
        """To a unit Gaussian, nats."""
        pairs = ((self.weight_mu, self.weight_rho), (self.bias_mu, self.bias_rho))
        stds = [(mu, F.softplus(rho)) for mu, rho in pairs]
        return sum((0.5 * (s**2 + mu**2 - 1.0) - torch.log(s)).sum() for mu, s in stds)


class Loop:
    """A user's training loop over a net of one hidden layer, with or without the penalty."""

    def __init__(self, sizes, activation, rho, penalised, **options):
        torch.manual_seed(0)
        inputs, width, outputs = sizes
        act = {"relu": nn.ReLU, "tanh": nn.Tanh}[activation]()
        self.model = nn.Sequential(Layer(inputs, width, rho), act, Layer(width, outputs, rho))
        self.x = torch.rand(POINTS, inputs) * 6 - 3
        self.y = torch.sin(self.x.sum(1, keepdim=True)).expand(POINTS, outputs)
        self.adam = torch.optim.Adam(self.model.parameters(), lr=1e-4)
        self.penalty = None
        if penalised:
            self.penalty = StraddlingPenalty(self.model, scale_transform="softplus", **options)

    def step(self):
        """One update."""
        fit = (0.5 * ((self.y - self.model(self.x)) / 0.3) ** 2).sum()
        loss = fit + self.model[0].kl() + self.model[2].kl()
        if self.penalty is not None:
            loss = loss + self.penalty()
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()


def added(sizes, activation="tanh", rho=0.0, rounds=12, steps=STEPS, **options):
    """Milliseconds of CPU of the plain step, and of the step with the penalty: medians of rounds."""
    loops = [Loop(sizes, activation, rho, penalised, **options) for penalised in (False, True)]
    times = [[], []]
    for _ in range(rounds):
        for loop, seen in zip(loops, times, strict=True):
            began = time.thread_time()
            for _ in range(steps):
                loop.step()
            seen.append(1e3 * (time.thread_time() - began) / steps)
    # the first round compiles and warms up
    return [float(np.median(seen[1:])) for seen in times]


def main(rounds=12):
    """The table."""
    torch.set_num_threads(1)
    print("| network | rho | every | plain step, ms | with penalty, ms | added / plain |")
    print("|---|---|---|---|---|---|")
    for width in (16, 64, 256):
        for sizes, activation in (((2, width, 1), "tanh"), ((13, width, 1), "relu")):
            for rho in (0.0, -3.0):
                plain, full = added(sizes, activation, rho, rounds)
                print(
                    f"| {'-'.join(map(str, sizes))} {activation} | {rho:g} | 1 | {plain:.2f} | {full:.2f} "
                    f"| {(full - plain) / plain:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
