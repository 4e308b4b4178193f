"""Make every sample posterior from scratch: ``python -m sample_models.make [NAME ...]``.

Needs bayesian-torch, blitz-bayesian-pytorch, torchbnn and scikit-learn (``pip install --no-deps`` of the first
three is enough); downloads nothing. Each posterior maximises the true ELBO: expected log-likelihood of the whole
data set minus the closed-form KL to a unit Gaussian prior. (Some libraries' own KL is averaged over weights.)
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

HERE = Path(__file__).parent

Params = Callable[[nn.Module], list[tuple[Tensor, Tensor]]]


def wave(seed: int, count: int, noise: float) -> tuple[Tensor, Tensor]:
    """y = sin 2x + 0.3 x + noise, x ~ U(-3, 3)."""
    generator = np.random.default_rng(seed)
    x = generator.uniform(-3.0, 3.0, size=(count, 1))
    y = np.sin(2.0 * x) + 0.3 * x + noise * generator.standard_normal((count, 1))
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)


def digits(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """scikit-learn's 8x8 digits, pixels in [0, 1], 1400 for training."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(seed).permutation(len(data.target))
    x, y = (
        torch.tensor(data.data[order] / 16.0, dtype=torch.float32),
        torch.tensor(data.target[order]),
    )
    return x[:1400], y[:1400], x[1400:], y[1400:]


def diabetes(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """scikit-learn's diabetes, standardised, 342 for training."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes()
    order = np.random.default_rng(seed).permutation(len(data.target))
    x, y = data.data[order], data.target[order][:, None]
    x, y = (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)
    return x[:342], y[:342], x[342:], y[342:]


def kl_to_unit_gaussian(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Sum over all weights of KL(N(mu, sigma) || N(0, 1))."""
    terms = [(0.5 * (sigma**2 + mu**2 - 1.0) - sigma.log()).sum() for mu, sigma in pairs]
    return torch.stack(terms).sum()


def train(
    model: nn.Module,
    pairs: Params,
    log_likelihood: Callable[[Tensor], Tensor],
    x: Tensor,
    steps: int,
    draws: int = 4,
) -> None:
    """Full-batch Adam on the negative ELBO, learning rate 1e-2 with cosine decay."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        for _ in range(draws):
            # one backward pass per draw: some libraries overwrite their noise buffers at the next forward pass
            (-log_likelihood(model(x)) / draws).backward()
        kl_to_unit_gaussian(pairs(model)).backward()
        optimizer.step()
        schedule.step()


def gaussian(y: Tensor, noise: float) -> Callable[[Tensor], Tensor]:
    """log p(y | f) summed over the data."""
    const = math.log(noise) + 0.5 * math.log(2.0 * math.pi)
    return lambda f: (-0.5 * ((y - f) / noise) ** 2 - const).sum()


def softplus_pairs(model: nn.Module, mu: str, rho: str) -> list[tuple[Tensor, Tensor]]:
    """(loc, std) of every parameter pair whose names contain ``mu`` / ``rho``."""
    named = dict(model.named_parameters())
    return [
        (p, nn.functional.softplus(named[n.replace(mu, rho)])) for n, p in named.items() if mu in n
    ]


def wave_straddled() -> None:
    """bayesian-torch, 1-20-1 ReLU, N = 60, noise 0.3: the regression of the paper study."""
    from bayesian_torch.layers import LinearReparameterization as Linear

    x, y = wave(0, 60, 0.3)
    model = nn.Sequential()
    model.fc1, model.act, model.fc2 = Linear(1, 20), nn.ReLU(), Linear(20, 1)
    forward = lambda inputs: model.fc2(  # noqa: E731
        torch.relu(model.fc1(inputs, return_kl=False)), return_kl=False
    )
    net = _Forward(model, forward)
    train(net, lambda m: softplus_pairs(m, "mu_", "rho_"), gaussian(y, 0.3), x, 8000, draws=8)
    torch.save(model.state_dict(), HERE / "wave-straddled.pt")
    np.savez(HERE / "wave.npz", X=x, y=y)
    x, y = wave(1, 500, 0.3)
    np.savez(HERE / "wave-test.npz", X=x, y=y)


def wave_healthy() -> None:
    """blitz, 1-6-1 ReLU, N = 400, noise 0.15: narrow posterior, units far apart."""
    from blitz.modules import BayesianLinear

    x, y = wave(2, 400, 0.15)
    model = nn.Sequential()
    model.blinear1, model.act, model.blinear2 = (
        BayesianLinear(1, 6),
        nn.ReLU(),
        BayesianLinear(6, 1),
    )
    # blitz keeps each parameter twice over one storage; gradients reach the sampler's copy
    pairs = lambda m: softplus_pairs(m, "sampler.mu", "sampler.rho")  # noqa: E731
    train(model, pairs, gaussian(y, 0.15), x, 6000)
    torch.save(model.state_dict(), HERE / "wave-healthy.pt")
    np.savez(HERE / "wave-lownoise.npz", X=x, y=y)


def wave_tanh() -> None:
    """torchbnn, 1-12-1 tanh, N = 60, noise 0.3: sign flips are symmetries too."""
    import torchbnn

    x, y = wave(0, 60, 0.3)
    layer = lambda i, o: torchbnn.BayesLinear(  # noqa: E731
        prior_mu=0.0, prior_sigma=0.1, in_features=i, out_features=o
    )
    model = nn.Sequential(layer(1, 12), nn.Tanh(), layer(12, 1))

    def pairs(m: nn.Module) -> list[tuple[Tensor, Tensor]]:
        named = dict(m.named_parameters())
        return [
            (p, named[n.replace("_mu", "_log_sigma")].exp()) for n, p in named.items() if "_mu" in n
        ]

    train(model, pairs, gaussian(y, 0.3), x, 6000)
    torch.save(model.state_dict(), HERE / "wave-tanh.pt")


class _MeanField(nn.Module):
    """A hand-written mean-field linear layer, the way tutorials write it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight_mu = nn.Parameter(torch.randn(outputs, inputs) / inputs**0.5)
        self.weight_log_sigma = nn.Parameter(torch.full((outputs, inputs), -3.0))
        self.bias_mu = nn.Parameter(torch.zeros(outputs))
        self.bias_log_sigma = nn.Parameter(torch.full((outputs,), -3.0))

    def forward(self, x: Tensor) -> Tensor:
        """Local draws: a fresh weight sample for every call."""
        weight = self.weight_mu + self.weight_log_sigma.exp() * torch.randn_like(self.weight_mu)
        bias = self.bias_mu + self.bias_log_sigma.exp() * torch.randn_like(self.bias_mu)
        return nn.functional.linear(x, weight, bias)


def _log_sigma_pairs(model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    named = dict(model.named_parameters())
    return [
        (p, named[n.replace("_mu", "_log_sigma")].exp())
        for n, p in named.items()
        if n.endswith("_mu")
    ]


def diabetes_deep() -> None:
    """Hand-written, 10-12-8-1 ReLU on diabetes, safetensors with the activation in its metadata."""
    from safetensors.torch import save_file

    x, y, x_test, y_test = diabetes(0)
    model = nn.Sequential(
        _MeanField(10, 12), nn.ReLU(), _MeanField(12, 8), nn.ReLU(), _MeanField(8, 1)
    )
    train(model, _log_sigma_pairs, gaussian(y, 0.7), x, 5000)
    save_file(
        model.state_dict(),
        HERE / "diabetes-deep.safetensors",
        metadata={"symdiag.activation": "relu"},
    )
    np.savez(HERE / "diabetes.npz", X=x, y=y)
    np.savez(HERE / "diabetes-test.npz", X=x_test, y=y_test)


def digits_classifier() -> None:
    """Hand-written, 64-30-10 ReLU on the 8x8 digits."""
    x, y, x_test, y_test = digits(0)
    model = nn.Sequential(_MeanField(64, 30), nn.ReLU(), _MeanField(30, 10))
    train(
        model,
        _log_sigma_pairs,
        lambda f: -nn.functional.cross_entropy(f, y, reduction="sum"),
        x,
        6000,
        draws=2,
    )
    torch.save({"state_dict": model.state_dict(), "epoch": 6000}, HERE / "digits.pt")
    half = lambda t: t.to(torch.float16)  # noqa: E731  (multiples of 1/16 are exact)
    np.savez_compressed(HERE / "digits.npz", X=half(x), y=y.to(torch.uint8))
    np.savez_compressed(HERE / "digits-test.npz", X=half(x_test), y=y_test.to(torch.uint8))


class _Forward(nn.Module):
    """A module with a forward pass of its own (bayesian-torch layers return (output, kl) by default)."""

    def __init__(self, model: nn.Module, run: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.run = model, run

    def forward(self, x: Tensor) -> Tensor:
        """The wrapped pass."""
        return self.run(x)


MODELS = {
    "wave-straddled": wave_straddled,
    "wave-healthy": wave_healthy,
    "wave-tanh": wave_tanh,
    "diabetes-deep": diabetes_deep,
    "digits": digits_classifier,
}


def main(names: list[str]) -> None:
    """Make the named sample models, or all of them."""
    torch.set_num_threads(1)
    for name in names or list(MODELS):
        torch.manual_seed(0)
        MODELS[name]()
        print(f"made {name}")


if __name__ == "__main__":
    main(sys.argv[1:])
