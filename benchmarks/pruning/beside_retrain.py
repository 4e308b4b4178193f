"""``prune --polish`` and ``retrain`` on the same posteriors: ``python -m benchmarks.pruning.beside_retrain [STEPS]``.

Equal steps for both and for retraining's control, the noise std learned where there is one. Prints a row per
posterior and stage: L, L^G and H in nats; test NLL per point with the paired difference to the posterior as it was.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import symdiag
from benchmarks.pruning.boston import trained

MODELS = Path(__file__).parents[2] / "sample_models"


def given(name: str, activation: str, **options) -> tuple[str, Path, dict]:
    """A sample model, its data and how it is read."""
    file = next(MODELS.glob(f"{name}.[ps]*"))
    data = MODELS / f"{name.split('-')[0]}.npz"
    test = data.with_name(f"{data.stem}-test.npz")
    return name, file, dict(activation=activation, data=data, test=test, prior_std=1.0, **options)


def row(name: str, what: str, units: str, stage, changes=()) -> str:
    """One line of the table."""
    found = next((c for c in changes if c.name == "test_nll"), None)
    figures = " | ".join(
        f"{e.value:.1f}" for e in (stage.elbo, stage.symmetrized, stage.straddling_entropy)
    )
    difference = (
        f"{found.value:+.3f} [{found.lower:+.3f}, {found.upper:+.3f}]" if found is not None else ""
    )
    return f"| {name} | {what} | {units} | {figures} | {stage.test.nll:.3f} | {difference} | {stage.test.metric:.3f} |"


def compared(name: str, file: Path, options: dict, steps: int) -> list[str]:
    """Before, pruned and polished, retrained, and retraining's control."""
    pruned = symdiag.prune(file, polish=steps, samples=400, **options).report
    data = options.pop("data")
    retrained = symdiag.retrain(
        file, data, steps=steps, control_runs=1, samples=400, anyway=True, **options
    ).report
    before = pruned.stages[0]
    lines = [row(name, "before", "+".join(map(str, before.widths)), before)]
    if pruned.verdict == "pruned":
        after = pruned.stages[-1]
        units = "+".join(map(str, after.widths))
        lines.append(row("", "`prune --polish`", units, after, pruned.changes_polished))
    else:
        lines.append("| | `prune` | nothing can go | | | | | | |")
    for what, stage, changes in (
        ("`retrain`", retrained.retrained, retrained.changes_to_before),
        ("its control", retrained.control, ()),
    ):
        units = f"{stage.active_units} active of {stage.units}"
        lines.append(row("", what, units, stage, changes))
    return lines


def main(steps: int = 2000) -> None:
    """Print the table, a posterior at a time."""
    print("| posterior | | units | L | L^G | H | test NLL | to before | test RMSE or accuracy |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, _ = trained(folder, 4000)
        data = {part: folder / f"{part}.npz" for part in ("train", "test")}
        boston = dict(activation="relu", data=data["train"], test=data["test"], prior_std=1.0)
        for case in (
            given("wave-straddled", "relu"),
            given("wave-tanh", "tanh"),
            given("diabetes-deep", "relu"),
            ("boston, 50 units", path, boston),
            given("digits", "relu", likelihood="categorical"),
        ):
            print("\n".join(compared(*case, steps)), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
