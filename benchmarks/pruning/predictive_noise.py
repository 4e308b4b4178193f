"""Where the predictive noise of removed units goes: ``python -m benchmarks.pruning.predictive_noise [POLISH]``.

``wave-straddled`` at its fixed noise std of 0.3, too small for what this net leaves over (RMSE 0.48). Three ways to hold
test NLL: keep more units, polish, or give the likelihood the variance that the removed units added.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

import symdiag

MODELS = Path(__file__).parents[2] / "sample_models"
GIVEN = dict(
    activation="relu", data=MODELS / "wave.npz", test=MODELS / "wave-test.npz", prior_std=1.0, samples=2000,
)  # fmt: skip


def nll(report) -> dict[str, object]:
    """Test NLL after minus before: pruned, and polished where there is one."""
    parts = {"pruned": report.changes, "polished": report.changes_polished}
    return {name: c for name, changes in parts.items() for c in changes if c.name == "test_nll"}


def main(polish: int = 0) -> None:
    """Print a row per tolerance, then one with the noise that keeps the predictive variance."""
    wide = MODELS / "wave-straddled.pt"
    print("| tolerance | noise std | units | predictive std | L | L^G | test NLL | difference |")
    print("|---|---|---|---|---|---|---|---|")
    for tolerance in (0.1, 0.03, 0.01, 0.003):
        done = symdiag.prune(wide, **GIVEN, noise=0.3, tolerance=tolerance, polish=polish)
        for stage in done.report.stages:
            change = nll(done.report).get(stage.name)
            print(row(f"{tolerance} {stage.name}", 0.3, stage, change))
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.pt"
        done = symdiag.prune(wide, **GIVEN, noise=0.3, output=small)
        before, after = done.report.stages
        # predictive variance before = noise² + weights'; the same after with a larger noise
        noise = float(np.sqrt(0.3**2 + before.predictive_std**2 - after.predictive_std**2))
        again = symdiag.prune(small, **GIVEN, noise=noise, tolerance=1e-6)
        print(row("0.1, noise taken up", noise, again.report.stages[0], None))


def row(name: str, noise: float, stage, change) -> str:
    """One line of the table."""
    interval = (
        "" if change is None else f"{change.value:+.3f} [{change.lower:+.3f}, {change.upper:+.3f}]"
    )
    return (
        f"| {name} | {noise:.3f} | {stage.widths[0]} | {stage.predictive_std:.3f} | {stage.elbo.value:.1f} | "
        f"{stage.symmetrized.value:.1f} | {stage.test.nll:.3f} | {interval} |"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
