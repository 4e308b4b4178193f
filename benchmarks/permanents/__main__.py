"""``python -m benchmarks.permanents``: write RESULTS.md beside this file."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.permanents import contenders
from benchmarks.permanents.cases import EXACT, LARGE, WIDEST, Case
from symdiag.arrays import Array
from symdiag.permanents import (
    Effort,
    exact_log_permanent,
    exact_marginals,
    log_permanent,
    swap_chain,
)

SEEDS = 6


def timed(function: Callable[[], object]) -> tuple[object, float]:
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def warm_up() -> None:
    generator = np.random.default_rng(0)
    matrix = LARGE[3].matrix(0)[:60, :60].copy()
    log_permanent(matrix, generator=generator)
    exact_marginals(matrix[None, :5, :5])
    swap_chain(matrix, steps=10, generator=generator)


def exact_times() -> list[str]:
    lines = ["| n | value, s | value and marginals, s |", "|---|---|---|"]
    for n, batch in ((10, 1), (12, 1), (16, 1), (16, 64), (20, 1), (22, 1)):
        matrices = np.array([Case("", n, 50, 0.3).matrix(k) for k in range(batch)])
        exact_log_permanent(matrices[:1])
        value = min(timed(lambda m=matrices: exact_log_permanent(m))[1] for _ in range(3))
        both = min(timed(lambda m=matrices: exact_marginals(m))[1] for _ in range(3))
        lines.append(
            f"| {n}{f', {batch} matrices' if batch > 1 else ''} | {value:.2g} | {both:.2g} |"
        )
    return lines


def errors(case: Case) -> str:
    """Root mean square error in nats (milliseconds) of each contender over seeds."""
    generator = np.random.default_rng(1)
    found: dict[str, list[tuple[float, float]]] = {}

    def note(name: str, function: Callable[[], float], exact: float) -> float:
        value, seconds = timed(function)
        found.setdefault(name, []).append((float(value) - exact, seconds))  # type: ignore[arg-type]
        return seconds

    for seed in range(SEEDS):
        matrix = case.matrix(seed)
        exact = exact_log_permanent(matrix[None])[0]
        spent = note("smc", lambda m=matrix: contenders.row_smc(m, generator, 1000), exact)
        note("sis", lambda m=matrix: contenders.plain_sis(m, generator, 1000), exact)
        note("bethe", lambda m=matrix: contenders.bethe(m), exact)
        note("infonce", lambda m=matrix, s=spent: contenders.infonce(m, generator, s)[0], exact)
        note("walrus", lambda m=matrix: contenders.thewalrus(m), exact)
    cells = []
    for name in ("smc", "sis", "bethe", "infonce", "walrus"):
        error = math.sqrt(float(np.mean([e * e for e, _ in found[name]])))
        took = 1e3 * float(np.mean([s for _, s in found[name]]))
        cells.append("–" if math.isnan(error) else f"{error:.2g} ({took:.2g})")
    return f"| {case.regime} | {case.d} | {exact:.4g} | " + " | ".join(cells) + " |"


def sandwich(case: Case, effort: Effort) -> str:
    """Planner's figures on one matrix, its spread over repeats, and InfoNCE at equal time."""
    matrix: Array = case.matrix(1)
    values, seconds = [], []
    for repeat in range(4):
        result, took = timed(
            lambda r=repeat: log_permanent(
                matrix, generator=np.random.default_rng(r), effort=effort
            )
        )
        values.append(result.value[0])  # type: ignore[attr-defined]
        seconds.append(took)
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    certified = float(result.certified_upper[0] - result.certified_lower[0])  # type: ignore[attr-defined]
    expected = float(result.expected_upper[0] - result.expected_lower[0])  # type: ignore[attr-defined]
    largest = math.lgamma(case.n + 1)
    nce, count = contenders.infonce(matrix, np.random.default_rng(9), min(seconds))
    own = max(spread, abs(expected) / 2, 1e-12)
    ratio = abs(nce - mean) / own
    return (
        f"| {case.regime} | {case.n} | {case.d} | {case.spread} | {mean:.6g} | {spread:.1e} | {expected:+.1e} "
        f"({100 * abs(expected) / largest:.4f} %) | {certified:.2g} | {min(seconds):.2f} | {result.method[0]} "  # type: ignore[attr-defined]
        f"| {abs(nce - mean):.3g} (K = {count}) | {f'{ratio:.0f}' if ratio < 1e6 else '> 1e6'} |"
    )


def main() -> None:
    warm_up()
    lines = [
        "# Log-permanents: error against time",
        "",
        f"Written by `python -m benchmarks.permanents` on {platform.machine()}, Python {platform.python_version()}, "
        "one thread. Times depend on what else the machine is doing.",
        "",
        "## Exact",
        "",
        *exact_times(),
        "",
        f"## n = 16 against exact values: root mean square error over {SEEDS} draws, nats (milliseconds)",
        "",
        "Row SMC and plain SIS with 1000 particles; InfoNCE given the time SMC took; thewalrus' BBFG where installed.",
        "",
        "| regime | d | log perm | row SMC | plain SIS | Bethe | InfoNCE | thewalrus |",
        "|---|---|---|---|---|---|---|---|",
        *(errors(case) for case in EXACT),
        "",
        "## Large layers, one draw each",
        "",
        "sd over 4 repeats; sandwich = expected upper − expected lower (share of log n!); certified width; seconds of the",
        "fastest repeat, scaling and bounds included; InfoNCE given the same time, and its error over the larger of our sd",
        "and half our sandwich.",
        "",
        "| regime | n | d | spread | log perm | sd | sandwich | certified | s | method | InfoNCE error | ratio |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
        *(sandwich(case, Effort()) for case in (*LARGE, *WIDEST)),
        "",
    ]
    Path(__file__).with_name("RESULTS.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
