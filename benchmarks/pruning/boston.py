"""Bayesian model reduction with whole units: ``python -m benchmarks.pruning.boston [STEPS] [POLISH]``.

A mean-field 13-50-1 ReLU net on Boston housing (506 houses, standardised; data of the package ``mlxtend``), trained by
the plain ELBO with the noise learned, then pruned and polished until nothing goes. After Beckers et al. (2023), who
prune single weights of such nets.
"""

from __future__ import annotations

import math
import sys
import tempfile
from pathlib import Path

import numpy as np

import symdiag
from benchmarks.training.problems import mlp
from symdiag import formats
from symdiag.network import forward
from symdiag.training.config import ModelConfig, TrainingConfig
from symdiag.training.data import Dataset
from symdiag.training.learning_problem import build_problem, scratch
from symdiag.training.loop import RunSettings, train

WIDTH, TRAINED_ON = 50, 404


def boston(seed: int = 0) -> tuple[Dataset, Dataset]:
    """Training and test houses; inputs and prices standardised by the training houses."""
    from mlxtend.data import boston_housing_data

    x, y = boston_housing_data()
    order = np.random.default_rng(seed).permutation(len(y))
    first = order[:TRAINED_ON]
    x = (x - x[first].mean(0)) / x[first].std(0)
    y = (y - y[first].mean()) / y[first].std()
    return Dataset(x[first], y[first]), Dataset(x[order[TRAINED_ON:]], y[order[TRAINED_ON:]])


def trained(folder: Path, steps: int, seed: int = 0) -> tuple[Path, float]:
    """The checkpoint that plain variational inference reaches, and its noise std."""
    blank, spec, network = mlp((13, WIDTH, 1))
    train_set, test_set = boston(seed)
    for name, part in (("train", train_set), ("test", test_set)):
        np.savez(folder / f"{name}.npz", X=part.inputs, y=part.targets)
    start = scratch(blank, seed)
    problem = build_problem(
        start,
        spec,
        lambda weights, inputs: forward(network, weights, None, inputs),
        ModelConfig("gaussian", None, 1.0),
        train_set,
        test_set,
    )
    config = TrainingConfig(objective="elbo", steps=steps, patience=0, seed=seed)
    q, _ = train(
        problem, config.resolved(len(train_set), start.num_parameters), RunSettings("elbo")
    )
    found, path = q.posterior(start), folder / "boston.npz"
    arrays = {f"{name}_mu": loc for name, loc in found.loc.items()}
    np.savez(path, **arrays, **{f"{name}_std": scale for name, scale in found.scale.items()})
    return path, math.exp(q.log_noise.item())


def row(name: str, stage, weights: int) -> str:
    """One line of the table."""
    figures = (stage.elbo, stage.symmetrized, stage.straddling_entropy)
    values = " | ".join(f"{estimate.value:.1f}" for estimate in figures)
    gone = 1.0 - stage.parameters / weights
    return (
        f"| {name} | {stage.widths[0]} | {stage.parameters} ({gone:.0%} gone) | {values} | "
        f"{stage.noise_std:.3f} | {stage.test.nll:.3f} | {stage.test.metric:.4f} |"
    )


def main(steps: int = 16000, polish: int = 2000, rounds: int = 3) -> None:
    """Train, then prune round by round."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, noise = trained(folder, steps)
        weights = formats.load(path).num_parameters
        print("| round | units | weights | L | L^G | H | noise std | test NLL | test RMSE |")
        print("|---|---|---|---|---|---|---|---|---|")
        for number in range(1, rounds + 1):
            after = folder / f"round{number}.npz"
            done = symdiag.prune(
                path, activation="relu", data=folder / "train.npz", test=folder / "test.npz",
                prior_std=1.0, noise=noise if number == 1 else None, polish=0, samples=400,
            )  # fmt: skip
            if number == 1:
                print(row("start", done.report.stages[0], weights))
                for change in done.report.changes:
                    print(f"  pruned at fixed noise: {change}", file=sys.stderr)
            if done.report.verdict != "pruned":
                print(f"| {number} | nothing can go |")
                return
            print(row(f"{number}, pruned", done.report.stages[1], weights))
            done = symdiag.prune(
                path, activation="relu", data=folder / "train.npz", test=folder / "test.npz",
                prior_std=1.0, polish=polish, samples=400, output=after,
                tolerance=0.1 if number == 1 else 0.3,
            )  # fmt: skip
            print(row(f"{number}, polished", done.report.stages[-1], weights))
            for change in done.report.changes_polished:
                print(f"  polished, noise learned: {change}", file=sys.stderr)
            path = after


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
