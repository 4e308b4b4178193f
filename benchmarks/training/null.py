"""How often is noise taken for a gain? ``python -m benchmarks.training.null [REPETITIONS]``.

The main run is one more ELBO run with a seed of its own: whatever it gains over the controls is training noise. Each
repetition has its own data, converged checkpoint, three controls and null run.
"""

from __future__ import annotations

import sys
from collections import Counter

from benchmarks.training.problems import converged, wave_problem
from symdiag.training.config import EvaluationConfig, TrainingConfig
from symdiag.training.evaluation import evaluate
from symdiag.training.loop import RunSettings, train
from symdiag.training.verdict import run_to_run_slack, symmetrized_difference, verdict_of


def repetition(seed: int, width: int = 8, steps: int = 400) -> tuple[str, float, float]:
    """Verdict, apparent gain and run-to-run half-width, nats."""
    problem = wave_problem(converged(wave_problem(None, seed, width), 1500), seed, width)
    found = []
    for run in range(4):
        config = TrainingConfig(
            objective="elbo",
            steps=steps,
            patience=0,
            seed=100 * seed + run,
            interval=steps,
            draws=8,
        )
        q, _ = train(
            problem,
            config.resolved(len(problem.train), problem.posterior.num_parameters),
            RunSettings("x"),
        )
        found.append(evaluate(problem, q, EvaluationConfig(samples=1000, budget=1.0)))
    slack = run_to_run_slack(found[:3])
    difference = symmetrized_difference(found[0], found[3], slack or 0.0)
    return verdict_of(difference), difference.value, slack or 0.0


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    verdicts = Counter()
    for seed in range(count):
        verdict, gain, slack = repetition(seed)
        verdicts[verdict] += 1
        print(f"| {seed} | {gain:+.2f} | {slack:.2f} | {verdict} |", flush=True)
    print(dict(verdicts))


if __name__ == "__main__":
    main()
