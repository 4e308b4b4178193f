"""Mean-field posteriors of small MLPs with unit Gaussian priors, P of one architecture as rows of a (P, D) tensor."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group, Member, PermutationSpec

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "tanh": torch.tanh}


@dataclass(frozen=True)
class Net:
    """An MLP: ``sizes`` = (inputs, hidden..., outputs). Flat weights: per layer weight (out, in), then bias (out)."""

    sizes: tuple[int, ...]
    activation: str = "relu"

    @property
    def size(self) -> int:
        """Number of weights D."""
        return sum(o * (i + 1) for i, o in zip(self.sizes, self.sizes[1:], strict=False))

    @property
    def signed(self) -> bool:
        """Whether sign flips are symmetries."""
        return self.activation == "tanh"

    def split(self, flat: Tensor) -> list[tuple[Tensor, Tensor]]:
        """(..., D) → [(weight (..., out, in), bias (..., out))] per layer."""
        layers, start = [], 0
        for i, o in zip(self.sizes, self.sizes[1:], strict=False):
            weight = flat[..., start : start + i * o].reshape(*flat.shape[:-1], o, i)
            layers.append((weight, flat[..., start + i * o : start + i * o + o]))
            start += i * o + o
        return layers

    def forward(self, draws: Tensor, x: Tensor) -> Tensor:
        """Weights (P, S, D) and inputs (P, N, in) → outputs (P, S, N, out)."""
        hidden = x[:, None]
        layers = self.split(draws)
        for number, (weight, bias) in enumerate(layers):
            hidden = hidden @ weight.mT + bias[..., None, :]
            if number < len(layers) - 1:
                hidden = ACTIVATIONS[self.activation](hidden)
        return hidden

    def posterior(self, loc: Tensor, scale: Tensor) -> Posterior:
        """One posterior (D,) as the package knows it."""
        return Posterior(self._named(loc), self._named(scale))

    def _named(self, flat: Tensor) -> dict[str, np.ndarray]:
        arrays = {}
        for k, (weight, bias) in enumerate(self.split(flat.detach().double()), 1):
            arrays[f"fc{k}.weight"], arrays[f"fc{k}.bias"] = (
                weight.numpy().copy(),
                bias.numpy().copy(),
            )
        return arrays

    @property
    def spec(self) -> PermutationSpec:
        """One group per hidden layer."""
        groups = []
        for k, width in enumerate(self.sizes[1:-1], 1):
            members = (
                Member(f"fc{k}.weight", 0),
                Member(f"fc{k}.bias", 0),
                Member(f"fc{k + 1}.weight", 1),
            )
            groups.append(Group(f"fc{k}", width, members, self.signed))
        return PermutationSpec(tuple(groups))

    def unit_index(self) -> Tensor:
        """Positions of each unit's weights in the flat vector, (n, in + 1 + out); one hidden layer."""
        inputs, width, outputs = self.sizes
        first = torch.arange(width * inputs).reshape(width, inputs)
        bias = width * inputs + torch.arange(width)[:, None]
        second = width * (inputs + 1) + torch.arange(outputs * width).reshape(outputs, width).T
        return torch.cat([first, bias, second], dim=1)


@dataclass(frozen=True)
class Task:
    """Data for P posteriors: inputs (P, N, d), targets (P, N) or (P, N, 1); ``noise`` (P,) for a gaussian likelihood."""

    likelihood: str
    x: Tensor
    y: Tensor
    noise: Tensor | None = None

    def log_prob(self, outputs: Tensor, y: Tensor) -> Tensor:
        """log p(y | f), (P, S, N), of outputs (P, S, N, out)."""
        draws = outputs.shape[1]
        if self.likelihood == "gaussian":
            assert self.noise is not None
            noise = self.noise[:, None, None]
            residual = (y[:, None, :] - outputs[..., 0]) / noise
            return -0.5 * residual**2 - torch.log(noise) - 0.5 * math.log(2.0 * math.pi)
        if self.likelihood == "bernoulli":
            return -F.softplus(torch.where(y[:, None, :] > 0.5, -outputs[..., 0], outputs[..., 0]))
        target = y[:, None, :, None].expand(-1, draws, -1, -1)
        return torch.log_softmax(outputs, -1).gather(-1, target)[..., 0]


@dataclass
class State:
    """Trained (P, D) means and log stds."""

    loc: Tensor
    log_scale: Tensor


def initial(net: Net, seeds: list[int], log_scale: float = -3.0) -> State:
    """Weights N(0, 1/fan_in), biases 0, small stds; posterior p from ``seeds[p]`` alone."""
    rows = []
    for seed in seeds:
        rng = np.random.default_rng([seed, 17])
        parts = []
        for i, o in zip(net.sizes, net.sizes[1:], strict=False):
            parts += [rng.standard_normal(i * o) / math.sqrt(i), np.zeros(o)]
        rows.append(np.concatenate(parts))
    loc = torch.tensor(np.array(rows), dtype=torch.float32)
    return State(loc, torch.full_like(loc, log_scale))


def kl(loc: Tensor, log_scale: Tensor) -> Tensor:
    """KL to the unit Gaussian prior, (P,) nats."""
    return (0.5 * ((2.0 * log_scale).exp() + loc**2 - 1.0) - log_scale).sum(-1)


@dataclass(frozen=True)
class Schedule:
    """How one phase is trained. ``batch`` None: all points at every step."""

    steps: int
    rate: float = 1e-2
    draws: int = 2
    batch: int | None = None
    seed: int = 0
    elements: int = 20  # K of infonce


def train_elbo(net: Net, task: Task, start: State, schedule: Schedule) -> State:
    """Plain variational inference on all points, any depth, P posteriors at once (torch autograd)."""
    loc, log_scale = (t.detach().clone().requires_grad_() for t in (start.loc, start.log_scale))
    optimiser = torch.optim.Adam([loc, log_scale], lr=schedule.rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, schedule.steps)
    source = torch.Generator().manual_seed(schedule.seed)
    for _ in range(schedule.steps):
        noise = torch.randn((len(loc), schedule.draws, net.size), generator=source, dtype=loc.dtype)
        outputs = net.forward(loc[:, None] + log_scale.exp()[:, None] * noise, task.x)
        loss = kl(loc, log_scale) - task.log_prob(outputs, task.y).sum(-1).mean(1)
        optimiser.zero_grad()
        loss.sum().backward()
        optimiser.step()
        decay.step()
    return State(loc.detach(), log_scale.detach())
