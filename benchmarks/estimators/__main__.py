"""Write ``benchmarks/estimators/results.md``: ours beside InfoNCE at equal time, the joint sandwich, coverage.

Everything runs in one process; times are ratios within the run. Usage: ``python -m benchmarks.estimators [NAME …]``.
"""

from __future__ import annotations

import itertools
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from scipy.special import logsumexp

from symdiag.estimators import StraddlingEstimator, estimate_straddling
from symdiag.estimators.densities import SlotDensity
from symdiag.estimators.layerwise import permanent_values
from symdiag.estimators.sandwich import JointSandwich
from symdiag.permanents import DEFAULT
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group, Member, PermutationSpec

RESULTS = Path(__file__).parent / "results.md"


def layer(width: int, size: int, regime: str, seed: int) -> tuple[Posterior, Group]:
    """One group of ``width`` units with ``size`` weights each; unit std, spacing by regime."""
    rng = np.random.default_rng(seed)
    spread = {
        "identical": 0.0,
        "near-identical": 0.03,
        "transition": 3.0 / math.sqrt(size),
        "separated": 12.0 / math.sqrt(size),
    }
    if regime == "half pruned":
        loc = 12.0 / math.sqrt(size) * rng.normal(size=(width, size))
        loc[: width // 2] = 0.02 * rng.normal(size=(width // 2, size))
    else:
        loc = spread[regime] * rng.normal(size=(width, size))
    return Posterior({"w": loc}, {"w": np.ones((width, size))}), Group("h", width, (Member("w", 0),))


def infonce_within(matrix: np.ndarray, seconds: float, rng: np.random.Generator) -> tuple[float, int]:
    """log Σ r by uniform elements (identity included) for as long as ``seconds`` last; estimate of log perm and K."""
    n = len(matrix)
    logs, rows, stop = [np.zeros(1)], np.arange(n), time.perf_counter() + seconds
    while time.perf_counter() < stop:
        elements = rng.permuted(np.tile(rows, (64, 1)), axis=1)
        logs.append(matrix[rows, elements].sum(1))
    values = np.concatenate(logs)
    return float(logsumexp(values) - math.log(len(values)) + math.lgamma(n + 1)), len(values)


def against_infonce() -> list[str]:
    """One weight draw per case; the reference is exact, or a long run of ours with its own bracket."""
    lines = [
        "## log Σ_g q(gω)/q(ω) of one weight draw, ours beside InfoNCE at equal time",
        "",
        "| regime | n | d | ours, nats | expectation interval | s | InfoNCE K in that time | InfoNCE, nats | its error / ours |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    cases = itertools.product(
        ("identical", "near-identical", "half pruned", "transition", "separated"), (16, 64, 256, 1024), (5, 50)
    )
    for regime, width, size in cases:
        posterior, group = layer(width, size, regime, 1)
        tensors = [{"w": torch.from_numpy(p["w"])} for p in (posterior.loc, posterior.scale)]
        draw = posterior.sample(np.random.default_rng(2), 1)["w"]
        matrix = SlotDensity(group, *tensors)({"w": torch.from_numpy(draw)})
        permanent_values(matrix, generator=np.random.default_rng(0), effort=DEFAULT, certify=False)  # compile
        start = time.perf_counter()
        found = permanent_values(matrix, generator=np.random.default_rng(3), effort=DEFAULT, certify=False)
        seconds = time.perf_counter() - start
        other, count = infonce_within(matrix[0].numpy(), seconds, np.random.default_rng(4))
        low, high = float(found.expected_lower[0]), float(found.expected_upper[0])
        ours = max(abs(high - low), 1e-3)
        lines.append(
            f"| {regime} | {width} | {size} | {found.value[0]:.3f} | [{low:.3f}, {high:.3f}] | {seconds:.3f} | {count} "
            f"| {other:.2f} | {abs(other - found.value[0]) / ours:.3g} |"
        )
    return [
        *lines,
        "",
        "The last column divides InfoNCE's error by the width of our interval (at least 0.001 nats).",
        "",
    ]


def chain(sizes: tuple[int, ...], seed: int, *, signed: bool) -> tuple[Posterior, PermutationSpec]:
    """A random mean-field MLP posterior that straddles noticeably."""
    rng = np.random.default_rng(seed)
    loc, groups = {}, []
    for k, (i, o) in enumerate(itertools.pairwise(sizes)):
        loc[f"l{k}.w"], loc[f"l{k}.b"] = 0.6 * rng.normal(size=(o, i)), 0.6 * rng.normal(size=o)
        if k < len(sizes) - 2:
            members = (Member(f"l{k}.w", 0), Member(f"l{k}.b", 0), Member(f"l{k + 1}.w", 1))
            groups.append(Group(f"l{k}", o, members, signed))
    scale = {n: 0.5 * np.exp(0.3 * rng.normal(size=v.shape)) for n, v in loc.items()}
    return Posterior(loc, scale), PermutationSpec(tuple(groups))


def joint() -> list[str]:
    """Σ H_l, the coupling bound and the joint sandwich on deep nets (means over 60 draws)."""
    lines = [
        "## Deep networks: Σ H_l ≤ H_G ≤ coupling bound, joint sandwich (means over 60 draws)",
        "",
        "| widths | signs | log|G| | Σ H_l | sandwich K=16 | K=64 | K=256 | coupling bound | s per draw, K=64 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for hidden, signed in (((5, 6), False), ((4, 4, 4), False), ((4, 4), True), ((8, 8), False), ((12, 8), False)):
        posterior, spec = chain((2, *hidden, 1), 5, signed=signed)
        estimator = StraddlingEstimator(posterior, spec, effort=DEFAULT)
        draws = estimator.draws(np.random.default_rng(6), 60)
        batch = estimator.evaluate(draws, np.random.default_rng(7), certify=True, chain_draws=60)
        below = sum(float(v.value.mean()) for v in batch.groups.values())
        sandwich, cells, seconds = JointSandwich(posterior, spec), [], 0.0
        for count in (16, 64, 256):
            start = time.perf_counter()
            found = sandwich(draws, count, np.random.default_rng(8))
            seconds = time.perf_counter() - start if count == 64 else seconds
            cells.append(f"[{found.expected_lower.mean():.3f}, {found.expected_upper.mean():.3f}]")
        above = min(float(c.expected_upper.mean()) for c in batch.chains)
        lines.append(
            f"| {'-'.join(map(str, hidden))} | {'yes' if signed else 'no'} | {spec.log_order:.2f} | {below:.3f} | "
            f"{' | '.join(cells)} | {above:.3f} | {seconds / 60:.3f} |"
        )
    return [*lines, ""]


def coverage() -> list[str]:
    """200 random posteriors of width 5: ±2 standard errors around 64 draws against 4000 draws."""
    covered = 0
    for seed in range(200):
        posterior, spec = chain((2, 5, 1), seed, signed=False)
        truth = estimate_straddling(posterior, spec, samples=4000, seed=1000 + seed).total.value
        found = estimate_straddling(posterior, spec, samples=64, seed=seed).total
        covered += found.lower <= truth <= found.upper
    return [
        "## Coverage",
        "",
        f"±2 standard errors from 64 draws covered the value from 4000 draws in {covered} of 200 posteriors.",
        "",
    ]


PARTS = {"infonce": against_infonce, "joint": joint, "coverage": coverage}


def main(names: list[str]) -> None:
    """Run the named parts (default: all) and write the table."""
    torch.set_num_threads(2)
    lines = ["# Estimators: error against time", "", "Made by `python -m benchmarks.estimators` on 2 cores.", ""]
    for name in names or list(PARTS):
        lines += PARTS[name]()
        print(f"done: {name}", file=sys.stderr)
    if names:
        print("\n".join(lines))
    else:
        RESULTS.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
