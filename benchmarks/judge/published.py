"""Two published scripts that put the full KL on every minibatch, trained again with their settings: ``python -m benchmarks.judge.published``.

- *wide*: dtak/wide-bnns-public, ``experiment_4/args/concrete_relu_0.txt`` (Coker et al. 2022). Concrete, 927 training points in fixed batches of 100 (the
  tenth has 27), one hidden layer of 125 ReLU, weights divided by the root of the layer's inputs, prior std 1, noise variance .025; SGD .001 with momentum
  .9, gradients clipped at 500, cosine with restarts every 500 epochs, 10,000 epochs, 16 draws. One start instead of the better of two.
- *priors*: EmanuelSommer/bnn_interplay_priors_overparam, ``mean_field_variational_inference_UCI.py`` (Kobialka et al. 2026). Airfoil, the first 70 %
  for training, of which always the same 1024 points come in batches of 128; three hidden layers of 16 ReLU, prior std 1, noise std .1, means started at
  0 and log stds at −2; Adam at a constant .01, 10 draws, 5000 epochs.

Data: ``pip install sklearn-contrib-bde`` ships both. Each posterior is read by ``analyze``, with the batch size given. As the rate of the second
never falls, it is read again after 1500 more epochs in which it does (``fall``).
"""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from symdiag import analyze
from symdiag.posterior import Posterior
from symdiag.report.views._kl_weight import collapse_cause
from symdiag.training.data import Dataset

RESULTS = Path(__file__).parent / "results" / "published.jsonl"


@dataclass(frozen=True)
class Script:
    """Settings of one of them."""

    sizes: tuple[int, ...]
    noise: float
    batch: int
    epochs: int
    draws: int
    batches: int
    scaled: bool  # weights divided by the root of the layer's inputs

    @property
    def factors(self) -> list[float]:
        """Of the weights of each layer."""
        return [1 / math.sqrt(n) if self.scaled else 1.0 for n in self.sizes[:-1]]


SCRIPTS = {
    "wide": Script((8, 125, 1), math.sqrt(0.025), 100, 10_000, 16, 10, True),
    "priors": Script((5, 16, 16, 16, 1), 0.1, 128, 5_000, 10, 8, False),
}


def shipped(name: str) -> Path:
    """A file of sklearn-contrib-bde, found without importing the package (it wants jax)."""
    found = importlib.util.find_spec("bde")
    if found is None or found.submodule_search_locations is None:
        raise SystemExit("pip install --no-deps sklearn-contrib-bde")
    return Path(found.submodule_search_locations[0]) / "data" / name


def data(name: str) -> Dataset:
    """Standardised, as each script splits it."""
    if name == "wide":
        table = np.loadtxt(shipped("concrete.data"))
        rows = table[np.random.RandomState(0).choice(len(table), 927, replace=False)]
        spread = rows.std(0)
        table = (rows - rows.mean(0)) / spread
    else:
        table = np.loadtxt(shipped("airfoil.csv"), delimiter=",", skiprows=1)
        table = ((table - table.mean(0)) / table.std(0))[:1024]
    return Dataset(table[:, :-1], table[:, -1:])


class Net:
    """Means and untransformed stds, layer by layer: weights (in, out), then biases."""

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.script = name, SCRIPTS[name]
        draw = torch.Generator().manual_seed(seed)
        rng = np.random.default_rng(seed)
        self.loc, self.raw = [], []
        for shape in self._shapes():
            if name == "wide":
                self.loc.append(torch.randn(shape, generator=draw))
                # stds: roots of inverse gamma variances with mean 1
                std = torch.tensor(1 / np.sqrt(rng.gamma(101, 0.01, shape)), dtype=torch.float32)
                self.raw.append(torch.log(torch.expm1(std)))
            else:
                self.loc.append(torch.zeros(shape))
                self.raw.append(torch.full(shape, -2.0))
        for leaf in (*self.loc, *self.raw):
            leaf.requires_grad_()
        self.draw = draw

    def _shapes(self) -> Iterator[tuple[int, ...]]:
        for inputs, outputs in zip(self.script.sizes, self.script.sizes[1:], strict=False):
            yield inputs, outputs
            yield (outputs,)

    def stds(self) -> list[Tensor]:
        """Softplus in the one, exp in the other."""
        if self.name == "wide":
            return [torch.nn.functional.softplus(raw) for raw in self.raw]
        return [raw.exp() for raw in self.raw]

    def loss(self, x: Tensor, y: Tensor, weight: float) -> Tensor:
        """−E[log p] summed over a batch + weight · KL."""
        stds, hidden = self.stds(), x
        layers = len(self.script.sizes) - 1
        for k in range(layers):
            drawn = [
                loc + std * torch.randn((self.script.draws, *loc.shape), generator=self.draw)
                for loc, std in zip(
                    self.loc[2 * k : 2 * k + 2], stds[2 * k : 2 * k + 2], strict=True
                )
            ]
            hidden = hidden @ (drawn[0] * self.script.factors[k]) + drawn[1][:, None, :]
            hidden = torch.relu(hidden) if k < layers - 1 else hidden
        fit = (((y - hidden) / self.script.noise) ** 2).sum() / (2 * self.script.draws)
        kl = sum(
            (0.5 * (std**2 + loc**2 - 1) - torch.log(std)).sum()
            for loc, std in zip(self.loc, stds, strict=True)
        )
        return fit + weight * kl

    def posterior(self) -> Posterior:
        """Weights as the network uses them, (out, in)."""
        loc, scale = {}, {}
        for k, (mean, std) in enumerate(zip(self.loc, self.stds(), strict=True)):
            factor = 1.0 if k % 2 else self.script.factors[k // 2]
            name = f"fc{k // 2}." + ("bias" if k % 2 else "weight")
            loc[name], scale[name] = (
                (v.detach().double() * factor).numpy().T.copy() for v in (mean, std)
            )
        return Posterior(loc, scale)

    @property
    def prior(self) -> dict[str, float]:
        """Stds of the weights as the network uses them."""
        return {"": 1.0, **{f"fc{k}.weight": f for k, f in enumerate(self.script.factors)}}


def train(net: Net, points: Dataset, weight: float, epochs: int, fall: bool = False) -> None:
    """With the script's own optimiser, schedule and batches; ``fall``: a rate that falls to 0."""
    x, y = (torch.tensor(part, dtype=torch.float32) for part in (points.inputs, points.targets))
    leaves, wide = [*net.loc, *net.raw], net.name == "wide"
    optimiser = (
        torch.optim.SGD(leaves, 1e-3, momentum=0.9) if wide else torch.optim.Adam(leaves, 1e-2)
    )
    schedules = torch.optim.lr_scheduler
    schedule = schedules.CosineAnnealingWarmRestarts(optimiser, T_0=500)
    if fall:
        schedule = schedules.CosineAnnealingLR(optimiser, epochs)
    for epoch in range(1, epochs + 1):
        order = torch.arange(len(x)) if wide else torch.randperm(len(x), generator=net.draw)
        for batch in order.split(net.script.batch):
            optimiser.zero_grad()
            net.loss(x[batch], y[batch], weight).backward()
            if wide:
                torch.nn.utils.clip_grad_norm_(leaves, 500)
            optimiser.step()
        if fall:
            schedule.step()
        elif wide and epoch < epochs:
            schedule.step(epoch)


def row(name: str, net: Net, weight: float, epochs: int) -> dict:
    """What ``analyze`` reads."""
    points = data(name.partition(",")[0])
    report = analyze(
        net.posterior(),
        activation="relu",
        assume_chain=True,
        data=points,
        noise=net.script.noise,
        prior_std=net.prior,
        batch_size=net.script.batch,
        samples=4,
    )
    found = report.elbo.kl_weight
    return {
        "script": name,
        "weight": weight,
        "planted": weight * net.script.batches,
        "epochs": epochs,
        "read": found.value,
        "lower": found.lower,
        "upper": found.upper,
        "status": found.status,
        "reasons": found.reasons,
        "tensors": [(part.name, part.value) for part in found.layers],
        "cause": found.causes[0].text if found.causes else None,
        "off": sum(neuron.collapsed for group in report.groups for neuron in group.neurons),
        "entropy": report.total.straddling_entropy.value,
        "said": collapse_cause(report),
    }


def table(rows: list[dict]) -> str:
    """As in ``published.md``."""
    lines = [
        "| script | epochs | KL per minibatch | T planted | T read | status | units off | H, nats | cause named first |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        read = "–" if r["read"] is None else f"{r['read']:.3g} [{r['lower']:.3g}, {r['upper']:.3g}]"
        lines.append(
            f"| {r['script']} | {r['epochs']} | {r['weight']:.3g} | {r['planted']:.3g} | "
            f"{read} | {r['status']} | {r['off']} | "
            f"{r['entropy']:.1f} | {r['cause'] or '–'} |"
        )
    return "\n".join(lines)


def main() -> None:
    """``NAME WEIGHT EPOCHS [FALL]`` trains, reads and adds to the results; without arguments the table."""
    torch.set_num_threads(1)
    if sys.argv[1:]:
        name, weight, *epochs = sys.argv[1:]
        net, total = Net(name, 0), 0
        for count, ending in zip(map(int, epochs), ("", ", then a falling rate"), strict=False):
            train(net, data(name), float(weight), count, fall=bool(ending))
            total += count
            with RESULTS.open("a") as out:
                out.write(json.dumps(row(name + ending, net, float(weight), total)) + "\n")
    print(table([json.loads(line) for line in RESULTS.read_text().splitlines()]))


if __name__ == "__main__":
    main()
