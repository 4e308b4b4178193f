"""Does the meter find a planted weight of the KL? ``python -m benchmarks.judge.meter run ROWS [CASE]``, then
``... table ROWS``; ``... reread ROWS NEW`` reads the same posteriors again.

Mean-field nets of one hidden layer of 20 are trained with Adam on E[log p] − T·KL, T from .01 to 100, on a wave (regression, known noise .3) and on the
wine data (three classes), with ReLU and tanh, full batch and minibatches of 20, three seeds each; the rate falls to 0 by a cosine. Each run is read at
its end and where it was stopped early (after a tenth and a third of the steps). A run counts as flat where training on for a fifth of the steps gains
less than 1 nat of its own objective (divided by T where T > 1) and less than a thousandth of it. ``run ROWS fresh`` takes other data and other starts.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from symdiag.diagnostics.kl_weight.gradients import Trained
from symdiag.diagnostics.kl_weight.meter import measure
from symdiag.network.architecture import Layer, Network
from symdiag.network.functional import forward
from symdiag.objectives.likelihoods import find_likelihood
from symdiag.posterior import Posterior
from symdiag.priors import GaussianPrior

WEIGHTS = (0.01, 0.1, 1.0, 10.0, 100.0)
SEEDS, FRESH_SEEDS = (0, 1, 2), (10, 11, 12)
KINDS, ACTIVATIONS, BATCHES = ("wave", "wine"), ("relu", "tanh"), (0, 20)
STEPS, DRAWS, RATE, HIDDEN, NOISE = 6000, 6, 2e-2, 20, 0.3
NAMES = ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")


@dataclass(frozen=True)
class Case:
    """Data, network and batch size (0: all points)."""

    kind: str
    activation: str
    batch: int
    fresh: bool = False  # data and starts that no choice was made on

    @property
    def name(self) -> str:
        """As on the command line."""
        return f"{self.kind}-{self.activation}-{self.batch or 'full'}"

    def data(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets."""
        g = np.random.default_rng(6 if self.fresh else 5)
        if self.kind == "wave":
            x = g.uniform(-3, 3, (80, 1))
            return torch.tensor(x), torch.tensor(
                np.sin(2 * x) + 0.3 * x + NOISE * g.standard_normal(x.shape)
            )
        from sklearn.datasets import load_wine

        found = load_wine()
        order = g.permutation(len(found.data))[:120]
        x = (found.data - found.data.mean(0)) / found.data.std(0)
        return torch.tensor(x[order]), torch.tensor(found.target[order])

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of the four tensors, weights as (in, out)."""
        inputs, outputs = (1, 1) if self.kind == "wave" else (13, 3)
        return [(inputs, HIDDEN), (HIDDEN,), (HIDDEN, outputs), (outputs,)]


CASES = tuple(Case(*parts) for parts in itertools.product(KINDS, ACTIVATIONS, BATCHES))


def split(flat: Tensor, shapes: list[tuple[int, ...]]) -> list[Tensor]:
    pieces = torch.split(flat, [math.prod(s) for s in shapes], dim=-1)
    return [p.reshape(*flat.shape[:-1], *s) for p, s in zip(pieces, shapes, strict=True)]


class Runs:
    """All weights and seeds of a case side by side: (R, D)."""

    def __init__(self, case: Case) -> None:
        self.case, (self.x, self.y) = case, case.data()
        self.runs = list(itertools.product(WEIGHTS, FRESH_SEEDS if case.fresh else SEEDS))
        self.weight = torch.tensor([t for t, _ in self.runs], dtype=torch.float64)
        size = sum(map(math.prod, case.shapes))
        start = np.stack(
            [np.random.default_rng([7, s]).standard_normal(size) for _, s in self.runs]
        )
        self.loc = torch.tensor(0.4 * start, requires_grad=True)
        self.log_std = torch.full_like(self.loc, -3.0).requires_grad_()
        self.generator = torch.Generator().manual_seed(1)
        self._fresh()

    def _fresh(self) -> None:
        self.optimiser = torch.optim.Adam([self.loc, self.log_std], lr=RATE)

    def objective(self, draws: int, index: Tensor, generator: torch.Generator) -> Tensor:
        """E[log p] of all points from these − T·KL, (R,)."""
        noise = torch.randn(draws // 2, *self.loc.shape, generator=generator, dtype=torch.float64)
        weights = self.loc + self.log_std.exp() * torch.cat([noise, -noise])
        first, bias, second, last = split(weights, self.case.shapes)
        activate = torch.tanh if self.case.activation == "tanh" else torch.relu
        outputs = activate(self.x[index] @ first + bias[..., None, :]) @ second + last[..., None, :]
        if self.case.kind == "wave":
            fit = -0.5 * ((self.y[index] - outputs) / NOISE).square().sum((-1, -2))
        else:
            logp = torch.log_softmax(outputs, -1)
            fit = logp[..., torch.arange(len(index)), self.y[index]].sum(-1)
        kl = (0.5 * ((2 * self.log_std).exp() + self.loc**2 - 1) - self.log_std).sum(-1)
        return fit.mean(0) * (len(self.x) / len(index)) - self.weight * kl

    def train(self, steps: int, total: int, begin: int, rate: float = RATE) -> None:
        """Steps ``begin`` .. ``begin + steps`` of a cosine of ``total``."""
        for step in range(begin, begin + steps):
            for group in self.optimiser.param_groups:
                group["lr"] = 0.5 * rate * (1 + math.cos(math.pi * step / total))
            self.optimiser.zero_grad()
            index = torch.arange(len(self.x))
            if self.case.batch:
                index = torch.randperm(len(self.x), generator=self.generator)[: self.case.batch]
            value = self.objective(DRAWS, index, self.generator)
            (-value / self.weight.clamp(min=1.0)).sum().backward()
            self.optimiser.step()

    def level(self) -> Tensor:
        """The objective of every run, always with the same draws."""
        with torch.no_grad():
            return torch.stack(
                [
                    self.objective(64, torch.arange(len(self.x)), torch.Generator().manual_seed(k))
                    for k in range(8)
                ]
            ).mean(0)

    def trained(self, run: int) -> Trained:
        """One run, as the meter takes it."""
        case, likelihood = (
            self.case,
            find_likelihood("gaussian" if self.case.kind == "wave" else "categorical"),
        )
        shapes = case.shapes
        layers = tuple(
            Layer(f"fc{k}", "linear", f"fc{k}.weight", f"fc{k}.bias", *shape, shape, in_out=True)
            for k, shape in ((1, shapes[0]), (2, shapes[2]))
        )
        network = Network(layers, case.activation)
        loc, scale = (
            dict(
                zip(NAMES, [p.detach().numpy().copy() for p in split(v[run], shapes)], strict=True)
            )
            for v in (self.loc, self.log_std.exp())
        )
        return Trained(
            Posterior(loc, scale),
            GaussianPrior({n: np.zeros(1) for n in NAMES}, {n: np.ones(1) for n in NAMES}),
            lambda weights, inputs: forward(network, weights, None, inputs),
            network,
            likelihood,
            self.x,
            likelihood.targets(self.y, shapes[2][1]),
            math.log(NOISE) if case.kind == "wave" else None,
        )


def study(case: Case, file: Path) -> None:
    """Train one case, and append a row for every reading."""
    runs, done = Runs(case), 0
    for share in (0.1, 1 / 3, 1.0):
        steps = round(share * STEPS)
        runs.train(steps - done, STEPS, done)
        done = steps
        rows = [_row(runs, r, share) for r in range(len(runs.runs))]
        torch.save((runs.loc, runs.log_std), f"{file}.{case.name}.{steps}.pt")
        if share == 1.0:
            before = runs.level()
            runs._fresh()
            runs.train(STEPS // 5, STEPS // 5, 0, RATE / 4)
            gain = (runs.level() - before) / runs.weight.clamp(min=1.0)
            size = before.abs() / runs.weight.clamp(min=1.0)
            for r, row in enumerate(rows):
                row["gain"] = float(gain[r])
                row["flat"] = bool(gain[r] < max(1.0, 1e-3 * float(size[r])))
        with file.open("a") as out:
            out.writelines(json.dumps(row) + "\n" for row in rows)
        ok = sum(row["status"] == "ok" for row in rows)
        print(case.name, f"{share:.2f}", f"ok {ok} of {len(rows)}", flush=True)


def _row(runs: Runs, run: int, share: float) -> dict:
    weight, seed = runs.runs[run]
    found = measure(runs.trained(run), seed=run)
    keep = ("value", "lower", "upper", "status", "fit", "scatter", "unsettled", "std_error")
    row = {name: getattr(found, name) for name in keep}
    row["tensors"] = [(part.value, part.std_error, part.informative) for part in found.layers]
    row["means"] = (found.means.value, found.means.std_error)
    row.update(convention=found.convention, reasons=found.reasons, differs=found.differs)
    row.update(case=runs.case.name, weight=weight, seed=seed, share=share)
    return row


def reread(file: Path, out: Path) -> None:
    """The readings of posteriors that ``run`` has left beside ``file``, anew."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for case in CASES:
        runs = Runs(case)
        for share in (0.1, 1 / 3, 1.0):
            chosen = [r for r in rows if r["case"] == case.name and r["share"] == share]
            if not chosen:
                continue
            runs.loc, runs.log_std = torch.load(f"{file}.{case.name}.{round(share * STEPS)}.pt")
            for run, row in enumerate(chosen):
                row.update(_row(runs, run, share))
    out.write_text("".join(json.dumps(row) + "\n" for row in rows))


def main() -> None:
    torch.set_num_threads(1)
    command, file, *names = sys.argv[1:]
    if command == "reread":
        reread(Path(file), Path(names[0]))
        return
    if command == "run":
        fresh = "fresh" in names
        chosen = [name for name in names if name != "fresh"]
        for case in CASES:
            if not chosen or case.name in chosen:
                study(dataclasses.replace(case, fresh=fresh), Path(file))
    else:
        from benchmarks.judge.meter_table import table

        print(table([json.loads(line) for line in Path(file).read_text().splitlines()]))


if __name__ == "__main__":
    main()
