"""What the objectives gain on the straddled regression: ``python -m benchmarks.training.wave [SEEDS] [STEPS] [FIRST]``.

Each seed draws its own data, trains plain variational inference to convergence, then goes on from that checkpoint with
each objective: equal steps, batches and weight noise.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from benchmarks.training.problems import converged, wave_problem
from symdiag.training.config import KL_WEIGHT_START, EvaluationConfig, TrainingConfig
from symdiag.training.evaluation import evaluate
from symdiag.training.loop import RunSettings, train

OBJECTIVES = ("elbo", "annealed elbo", "infonce", "symmetrized")


def settings(objective, **options):
    """The configuration of one run of the study."""
    if objective == "annealed elbo":
        # the symmetrised run's weaker KL at first: what that alone gains
        return TrainingConfig(objective="elbo", kl_weight_start=KL_WEIGHT_START, **options)
    return TrainingConfig(objective=objective, **options)


def one_seed(
    seed: int,
    steps: int,
    base_steps: int = 8000,
    objectives: tuple[str, ...] = OBJECTIVES,
    samples: int = 2000,
) -> dict[str, dict[str, float]]:
    """Objective → figures, certified evaluation."""
    start = converged(wave_problem(None, seed), base_steps)
    problem = wave_problem(start, seed)
    rows = {"before": figures(problem, problem.start(), seed, 0.0, samples)}
    for objective in objectives:
        config = settings(objective, steps=steps, patience=0, seed=seed)
        began = time.perf_counter()
        q, _ = train(
            problem,
            config.resolved(len(problem.train), start.num_parameters),
            RunSettings(objective),
        )
        rows[objective] = figures(problem, q, seed, time.perf_counter() - began, samples)
    return rows


def figures(problem, q, seed, seconds, samples=2000):
    """The row of one run."""
    result = evaluate(problem, q, EvaluationConfig(samples=samples, seed=seed))
    return {
        "L": result.elbo.value,
        "H": result.straddling_entropy.value,
        "LG": result.symmetrized.value,
        "LG_low": result.symmetrized.lower,
        "kl": result.kl,
        "active": result.active_units,
        "nll": result.test.nll,
        "rmse": result.test.metric,
        "calibration": result.test.calibration_error,
        "seconds": seconds,
    }


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 5000
    first = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    print(
        "| seed | run | L | H | L^G | L^G lower bound | active | test NLL | RMSE | calibration | s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    gains, ratios = [], []
    for seed in range(first, first + seeds):
        rows = one_seed(seed, steps)
        for name, r in rows.items():
            print(
                f"| {seed} | {name} | {r['L']:.1f} | {r['H']:.2f} | {r['LG']:.1f} | {r['LG_low']:.1f} | {r['active']}"
                f" | {r['nll']:.3f} | {r['rmse']:.3f} | {r['calibration']:.3f} | {r['seconds']:.0f} |",
                flush=True,
            )
        gains.append(rows["symmetrized"]["LG"] - rows["elbo"]["LG"])
        ratios.append(rows["symmetrized"]["nll"] / rows["elbo"]["nll"])
    print(f"\nGain in L^G over the control: {np.round(gains, 1)} (mean {np.mean(gains):.1f})")
    print(f"Test NLL relative to the control: {np.round(ratios, 2)} (mean {np.mean(ratios):.2f})")


if __name__ == "__main__":
    main()
