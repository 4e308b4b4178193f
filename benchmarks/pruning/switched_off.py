"""Can the units that ``analyze`` calls collapsed really go? ``python -m benchmarks.pruning.switched_off PATH ...``.

Every posterior under the paths (folders or files; ``NAME.npz`` beside it is its data, ``NAME.expect.json`` says its
activation, else ReLU) and seven trained here loses exactly the units that are flagged, and its mean function is compared by
plain Monte Carlo: root mean square of the change over inputs, in predictive stds, freed of the noise that finitely many
draws leave. Writes ``switched_off.md`` beside this file.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import symdiag
from benchmarks.training.problems import converged, mlp, wave_data
from symdiag.arrays import Array
from symdiag.diagnostics.function_change import keep_masks
from symdiag.errors import SymdiagError
from symdiag.network import Network, forward, infer_network
from symdiag.posterior import Posterior
from symdiag.symmetry.inference import infer_spec
from symdiag.training.config import ModelConfig
from symdiag.training.data import Dataset
from symdiag.training.learning_problem import build_problem, scratch

SAMPLE_MODELS = Path(__file__).parents[2] / "sample_models"
LIMIT, DRAWS, POINTS = 0.1, 4000, 25
OWN = [
    (kind, width, seed, noise)
    for kind, width, seed, noise in (
        ("relu", 6, 0, 0.3),
        ("relu", 20, 0, 0.3),
        ("relu", 40, 1, 0.6),
        ("relu", 100, 0, 0.3),
        ("tanh", 6, 0, 0.3),
        ("tanh", 20, 1, 0.3),
        ("tanh", 40, 0, 0.6),
    )
]


@dataclass(frozen=True)
class Case:
    """One posterior whose network is a known chain."""

    name: str
    kind: str
    posterior: Posterior
    activation: str
    data: Array | None = None


def own() -> Iterator[Case]:
    """Regressions trained here by the plain ELBO: few units or many, little noise or much."""
    for activation, width, seed, noise in OWN:
        blank, spec, network = mlp((1, width, 1), activation)
        data = wave_data(seed, 60, noise)
        run = lambda weights, inputs, net=network: forward(net, weights, None, inputs)  # noqa: E731
        likelihood = ModelConfig("gaussian", noise, 1.0)

        def posed(start: Posterior, spec=spec, run=run, likelihood=likelihood, data=data):
            return build_problem(
                start, spec, run, likelihood, data, Dataset(data.inputs, data.targets)
            )

        found = converged(posed(scratch(blank, seed)), 2000, seed)
        yield Case(
            f"{activation}, {width} units, seed {seed}, noise {noise}",
            "trained here",
            found,
            activation,
            data.inputs,
        )


def opened(path: Path) -> Iterator[tuple[str, Posterior]]:
    """The posteriors of a file; an ambiguous scale is read as softplus."""
    pending: list[dict[str, str]] = [{}]
    while pending:
        options = pending.pop(0)
        try:
            found = symdiag.load(path, **options)
        except SymdiagError as error:
            if error.code == "ambiguous-scale-transform":
                pending.append({**options, "scale_transform": "softplus"})
            elif error.code == "several-posteriors":
                pending += [{"member": name} for name in re.findall(r"member=(\S+)", error.hint)]
            continue
        yield path.name + "".join(f" {v}" for k, v in options.items() if k == "member"), found


def stored(paths: list[Path]) -> Iterator[Case]:
    """What can be read under the paths."""
    files = [f for p in paths for f in (sorted(p.rglob("*")) if p.is_dir() else [p])]
    for file in files:
        if not file.is_file() or file.suffix in (".json", ".md", ".py", ".npz"):
            continue
        stem = file.name.split(".")[0]
        note, data = file.with_name(f"{stem}.expect.json"), file.with_name(f"{stem}.npz")
        known = json.loads(note.read_text()).get("architecture", {}) if note.exists() else {}
        x = None
        if data.exists():
            with np.load(data) as arrays:
                x = arrays.get("X")
        for name, posterior in opened(file):
            activation = known.get("activation") or ("tanh" if "tanh" in stem else "relu")
            yield Case(name, posterior.source.dialect, posterior, activation, x)


def change(
    case: Case, network: Network, flagged: dict[str, Array], x: Array
) -> tuple[float, float]:
    """Root mean square of the mean function's change over x, predictive stds, and what noise leaves."""
    posterior = case.posterior
    keep = keep_masks(posterior, infer_spec(posterior, network).restricted(posterior.loc), flagged)
    generator = np.random.default_rng(5)
    inputs = torch.from_numpy(np.asarray(x, dtype=float))
    each = max(1, min(DRAWS, 2_000_000 // posterior.num_parameters))
    count = min(DRAWS, 20 * each)
    sums = squares = outputs = spread = 0.0
    for _ in range(count // each):
        draws = posterior.sample(generator, each)
        whole, rest = (
            forward(network, {n: torch.from_numpy(v) for n, v in w.items()}, None, inputs).numpy()
            for w in (draws, {n: v * keep.get(n, 1.0) for n, v in draws.items()})
        )
        sums, squares = sums + (rest - whole).sum(0), squares + ((rest - whole) ** 2).sum(0)
        outputs, spread = outputs + whole.sum(0), spread + (whole**2).sum(0)
    total = count // each * each
    mean, noise = sums / total, (squares / total - (sums / total) ** 2) / total
    std = np.sqrt((spread / total - (outputs / total) ** 2).mean())
    return float(np.sqrt(max((mean**2 - noise).mean(), 0.0)) / std), float(
        np.sqrt(noise.mean()) / std
    )


def row(case: Case) -> tuple[str, bool] | None:
    """One line of the table and whether it holds; None where the file is no chain."""
    try:
        network = infer_network(case.posterior, activation=case.activation)
        report = symdiag.analyze(
            case.posterior, activation=case.activation, samples=16, budget=0.1, assume_chain=True
        )
    except SymdiagError:
        return None
    flagged = {g.name: np.array([n.collapsed for n in g.neurons]) for g in report.groups}
    kept = [
        max(n.retention for n in g.neurons if n.collapsed)
        for g in report.groups
        if sum(n.collapsed for n in g.neurons) > 2
    ]
    off = "+".join(f"{u.sum()}/{len(u)}" for u in flagged.values())
    changes, holds = [], all(k < 0.5 for k in kept)
    if any(u.any() for u in flagged.values()):
        features = network.layers[0].in_features
        standard = np.random.default_rng(3).standard_normal((POINTS, features))
        for x in (standard, case.data):
            if x is None or x.ndim != 2 or x.shape[1] != features:
                changes.append("-")
                continue
            found, noise = change(case, network, flagged, x[:POINTS])
            holds &= found <= LIMIT
            changes.append(f"{found:.3f} (± {noise:.3f})")
    else:
        changes = ["nothing off", "nothing off"]
    top = f"{max(kept):.2f}" if kept else "-"
    return (
        f"| {case.name} | {case.kind} | {case.activation} | {off} | {changes[0]} | {changes[1]} | {top} |",
        holds,
    )


def gone_through(cases: Iterator[Case]) -> list[tuple[str, str, bool, str]]:
    """Line, kind, whether it holds, and name of each posterior that is a chain."""
    found = []
    for case in cases:
        line = row(case)
        if line is not None:
            print(line[0], flush=True)
            found.append((line[0], case.kind, line[1], case.name))
    return found


def write(found: list[tuple[str, str, bool, str]]) -> None:
    """The table, with what it shows said above it."""
    lines, kinds, holds, names = zip(*found, strict=True)
    switched = sum("nothing off" not in line for line in lines)
    failed = [name for name, held in zip(names, holds, strict=True) if not held]
    text = (
        f"# Units called collapsed, switched off\n\n"
        f"`python -m benchmarks.pruning.switched_off PATH ...` with folders of checkpoints: {len(lines)} posteriors of {len(set(kinds))} kinds, "
        f"{switched} of them with units that are flagged. Change of the mean function without exactly these, root mean square over {POINTS} inputs in "
        f"predictive stds, with the noise of the draws taken out (± what it was); at most {LIMIT} is promised. Retention: the largest of a "
        f"flagged unit, where a layer has more than two; below 0.5 is promised. Beyond either: {', '.join(failed) or 'none'}.\n\n"
        "| posterior | kind | read with | off | on standard inputs | on its data | retention |\n|---|---|---|---|---|---|---|\n"
    )
    Path(__file__).with_suffix(".md").write_text(text + "\n".join(lines) + "\n", encoding="utf-8")


def main(paths: list[Path]) -> None:
    """Go through all posteriors, write the table."""
    write([*gone_through(stored([SAMPLE_MODELS, *paths])), *gone_through(own())])


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
