"""The bundled posteriors are what their README says, and relabelling them changes nothing."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

import symdiag
from symdiag import formats
from symdiag.symmetry.discovery import discover
from symdiag.symmetry.elements import act, random_action

SAMPLES = Path(__file__).parent.parent / "sample_models"
ROW = re.compile(r"^\| `([\w.-]+)` \|.*\| ([\d.]+) \| ([\w-]+) \|$", re.M)
ROWS = ROW.findall((SAMPLES / "README.md").read_text(encoding="utf-8"))
ACTIVATION = {"wave-tanh.pt": "tanh"}


def analyze(path, **options):
    return symdiag.analyze(path, activation=ACTIVATION.get(Path(path).name, "relu"), **options)


def test_every_sample_is_listed():
    files = {p.name for p in SAMPLES.iterdir() if p.suffix in {".pt", ".safetensors"}}
    assert files == {name for name, _, _ in ROWS}
    assert len(files) >= 5


@pytest.mark.parametrize(("name", "entropy", "verdict"), ROWS)
def test_figures_hold_with_another_seed(name, entropy, verdict):
    report = analyze(SAMPLES / name, samples=48, seed=11)
    found = report.total.straddling_entropy
    assert report.verdict == verdict
    assert found.value == pytest.approx(
        float(entropy), abs=4 * math.sqrt(2) * found.std_error + 0.06
    )


@pytest.mark.parametrize("name", ["wave-straddled.pt", "wave-tanh.pt"])
def test_a_relabelled_checkpoint_gets_the_same_figures(name, tmp_path):
    posterior = formats.load(SAMPLES / name)
    spec = discover(
        posterior, activation=ACTIVATION.get(name, "relu"), generator=np.random.default_rng(0)
    ).spec
    action = random_action(spec, np.random.default_rng(5))
    assert not action[spec.groups[0].name].is_identity
    moved = posterior.replace(
        loc=act(spec, action, posterior.loc), scale=act(spec, action, posterior.scale, flip=False)
    )
    formats.save(moved, tmp_path / name)
    before, after = (
        analyze(p / name, samples=64, seed=3).total.straddling_entropy for p in (SAMPLES, tmp_path)
    )
    assert before.value == pytest.approx(
        after.value, abs=4 * math.hypot(before.std_error, after.std_error)
    )


def test_same_seed_gives_the_same_report():
    first, again = (
        analyze(SAMPLES / "diabetes-deep.safetensors", samples=8).to_dict() for _ in range(2)
    )
    first.pop("run")
    again.pop("run")
    assert first == again
