"""How many units collapse, at which weight of the KL, under which objective: ``python -m benchmarks.judge.collapse [table]``.

One hidden layer of 12 on 80 points of a wave with known noise .3, ReLU and tanh, trained on E[log p] − T·KL T from .1 to 30 (``elbo``) and on the
same plus T·I(g; ω) (``symmetrized``). Both are ``symdiag``'s own training: dividing by T leaves a Gaussian likelihood with noise .3·√T. Every posterior
then goes through ``analyze`` with the noise at .3, as a stranger's would; kept are units off, H, what the meter reads and the cause that is said.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from pathlib import Path

import numpy as np

from benchmarks.training.problems import mlp, wave_data
from symdiag import analyze
from symdiag.network import forward
from symdiag.posterior import Posterior
from symdiag.report.views._kl_weight import collapse_cause
from symdiag.training.config import ModelConfig, TrainingConfig
from symdiag.training.learning_problem import build_problem, scratch
from symdiag.training.loop import RunSettings, train

RESULTS = Path(__file__).parent / "results" / "collapse.json"
WEIGHTS = (0.1, 1.0, 3.0, 10.0, 30.0)
ACTIVATIONS, OBJECTIVES, SEEDS = ("relu", "tanh"), ("elbo", "symmetrized"), (0, 1, 2)
HIDDEN, NOISE, POINTS, STEPS = 12, 0.3, 80, 2500


def trained(activation: str, weight: float, objective: str, seed: int) -> Posterior:
    """The posterior at one weight, from scratch."""
    blank, spec, network = mlp((1, HIDDEN, 1), activation)
    problem = build_problem(
        scratch(blank, seed),
        spec,
        lambda weights, inputs: forward(network, weights, None, inputs),
        ModelConfig("gaussian", NOISE * math.sqrt(weight), 1.0),
        wave_data(seed, POINTS),
    )
    config = TrainingConfig(
        objective=objective, steps=STEPS, patience=0, seed=seed, draws=8, interval=STEPS
    )
    size = problem.posterior.num_parameters
    q, _ = train(problem, config.resolved(POINTS, size), RunSettings(objective))
    return q.posterior(problem.posterior)


def row(activation: str, weight: float, objective: str, seed: int) -> dict:
    """What ``analyze`` says of it."""
    report = analyze(
        trained(activation, weight, objective, seed),
        activation=activation,
        assume_chain=True,
        data=wave_data(seed, POINTS),
        test=wave_data(seed + 1000, 1000),
        noise=NOISE,
        prior_std=1.0,
        samples=60,
    )
    weight_read = report.elbo.kl_weight
    return {
        "activation": activation,
        "weight": weight,
        "objective": objective,
        "seed": seed,
        "off": sum(neuron.collapsed for group in report.groups for neuron in group.neurons),
        "entropy": report.total.straddling_entropy.value,
        "log_order": report.total.log_order,
        "read": weight_read.value,
        "status": weight_read.status,
        "nll": report.test["nll"],
        "cause": collapse_cause(report).partition(": ")[2],
    }


def table(rows: list[dict]) -> str:
    """Means over seeds."""
    lines = [
        "| activation | T | objective | units off, of 12 | H, nats | test NLL | T read | ok |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for activation, weight, objective in itertools.product(ACTIVATIONS, WEIGHTS, OBJECTIVES):
        same = [
            r
            for r in rows
            if (r["activation"], r["weight"], r["objective"]) == (activation, weight, objective)
        ]
        if not same:
            continue
        read, ok = [r["read"] for r in same], sum(r["status"] == "ok" for r in same)
        span = f"{min(read):.3g} to {max(read):.3g}"
        units, entropy, nll = (_mean([r[name] for r in same]) for name in ("off", "entropy", "nll"))
        lines.append(
            f"| {activation} | {weight:g} | {objective} | {units} | {entropy} | {nll} | {span} | "
            f"{ok} of {len(same)} |"
        )
    return "\n".join(lines)


def _mean(values: list[float]) -> str:
    return f"{np.mean(values):.2f} ({min(values):.3g} to {max(values):.3g})"


def main() -> None:
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    done = {(r["activation"], r["weight"], r["objective"], r["seed"]) for r in rows}
    if sys.argv[1:] != ["table"]:
        for seed, *rest in itertools.product(SEEDS, ACTIVATIONS, WEIGHTS, OBJECTIVES):
            if (*rest, seed) in done:
                continue
            rows.append(row(*rest, seed))
            print(rows[-1], flush=True)
            RESULTS.write_text(json.dumps(rows, indent=1))
    print(table(rows))


if __name__ == "__main__":
    main()
