"""What the short chains of a training step miss: their gradient against that of chains a hundred times as long.

``python -m benchmarks.training.marginals WIDTH [relu|tanh]``: a wide net on Coker et al.'s two_dim task, fitted by the
plain ELBO until it straddles; then ∂H/∂μ and ∂H/∂log σ (in posterior stds) on the same eight weight draws, by uniform
proposals and by proposals from a table of partners, for several numbers of proposals. ``share`` is the projection on
the long chains' gradient (1: no shortfall), two independent long chains setting the scale; ``error`` the relative root
mean square error of one call.
"""

import math
import sys
import time

import numpy as np
import torch

from symdiag.permanents import GaussianSlots, default_proposals, partner_table, swap_moments

DRAWS, REPEATS = 8, 4
NOISE = math.sqrt(0.025)


def two_dim():
    """x ~ U(−5, 5)², y = x₁ sin x₂ + noise, 100 points (Coker et al. 2022)."""
    rng = np.random.RandomState(0)
    x = rng.uniform(-5, 5, (200, 2))
    y = x[:, 0] * np.sin(x[:, 1]) + NOISE * rng.randn(200)
    return torch.tensor(x[:100]), torch.tensor(y[:100])


def fitted(width, activation, steps=2000, draws=8):
    """Means and stds (n, 4) of every unit's weights, columns in, in, bias, out, after plain variational inference."""
    x, y = two_dim()
    size = 4 * width + 1
    generator = torch.Generator().manual_seed(0)
    loc = torch.randn(size, generator=generator, dtype=torch.float64).requires_grad_()
    log_scale = torch.full((size,), math.log(0.3), dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([loc, log_scale], lr=1e-2)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        adam.zero_grad()
        noise = torch.randn(draws, size, generator=generator, dtype=torch.float64)
        w = loc + log_scale.exp() * noise
        units = w[:, :-1].reshape(draws, width, 4)
        h = getattr(torch, activation)(x @ units[..., :2].mT + units[:, None, :, 2])
        f = (h @ units[..., 3:])[..., 0] / math.sqrt(width) + w[:, -1:]
        fit = (-0.5 * ((y - f) / NOISE) ** 2).sum(1).mean()
        kl = (0.5 * ((2 * log_scale).exp() + loc**2 - 1) - log_scale).sum()
        (kl - fit).backward()
        adam.step()
        decay.step()
    parts = (loc.detach(), log_scale.detach().exp())
    return [part[:-1].reshape(width, 4).numpy().copy() for part in parts]


class Gradient:
    """∂H/∂μ and ∂H/∂log σ of a fixed set of draws, in posterior stds, by swap chains."""

    def __init__(self, mean, std, signed):
        rng = np.random.default_rng(1)
        self.mean, self.std = mean, std
        self.draws = mean + std * rng.standard_normal((DRAWS, *mean.shape))
        precision = std**-2.0
        constant = -0.5 * (precision * mean**2).sum(1) - np.log(std).sum(1)
        flips = mean.shape[1] if signed else None
        self.slots = GaussianSlots(precision * mean, 0.5 * precision, constant, flips)

    def table(self, uniform):
        """Partners by odds, from draws of their own, or every other unit alike."""
        rng, n = np.random.default_rng(2), len(self.mean)
        if uniform:
            return (np.arange(n)[:, None] + rng.integers(1, n, size=(n, 4096))) % n
        x = self.mean + self.std * rng.standard_normal((4, *self.mean.shape))
        odd = self.slots.weighted @ x.transpose(0, 2, 1)
        even = self.slots.constant[:, None] - self.slots.half_precision @ (x**2).transpose(0, 2, 1)
        matrices = even + (odd if self.slots.flips is None else np.logaddexp(odd, -odd))
        return partner_table(matrices, rng)

    def __call__(self, table, proposals, seed):
        """Both gradients as one vector, and the seconds it took."""
        began = time.perf_counter()
        rng = np.random.default_rng(seed)
        found = swap_moments(self.slots, self.draws, table, rng, proposals=proposals)
        seconds = time.perf_counter() - began
        x, mean, std = self.draws, self.mean, self.std
        precision = std**-2.0
        shift = found.first - x.mean(0)
        spread = found.second - (x**2).mean(0)
        pulled = found.weighted - self.slots.weighted
        by_draw = (pulled + (precision - 2 * found.half_precision) * x) / len(x)
        by_mean = precision * shift + by_draw.sum(0)
        by_std = (spread - 2 * mean * shift) * precision / std
        by_std = by_std + (by_draw * (x - mean) / std).sum(0)
        return np.concatenate([(std * by_mean).ravel(), (std * by_std).ravel()]), seconds


def main(width, activation):
    """The table."""
    gradient = Gradient(*fitted(width, activation), activation == "tanh")
    tables = {"uniform": gradient.table(True), "partners": gradient.table(False)}
    long = [gradient(tables["partners"], 10 * width * width, seed)[0] for seed in (100, 101)]
    scale = float(long[0] @ long[1])
    reference = (long[0] + long[1]) / 2
    print(f"{width} units, {activation}; |∂H| = {math.sqrt(scale):.2f}")
    print("| proposals | per draw | share | error | ms a draw |\n|---|---|---|---|---|")
    counts = [round(f * width * width) for f in (0.05, 0.1, 0.25, 1.0)]
    for name, table in tables.items():
        for count in counts:
            runs = [gradient(table, count, seed) for seed in range(REPEATS)]
            share = np.mean([run[0] @ reference for run in runs]) / scale
            error = np.mean([np.linalg.norm(run[0] - reference) for run in runs])
            milliseconds = 1e3 * min(run[1] for run in runs) / DRAWS
            mark = " (default)" if count == default_proposals(width) and name == "partners" else ""
            print(
                f"| {name} | {count}{mark} | {share:.3f} | {error / math.sqrt(scale):.2f} "
                f"| {milliseconds:.2f} |"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "tanh")
