"""``analyze --infonce K``: the paper's estimate beside ours, with the ceiling it cannot pass."""

import json
import math
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from symdiag.cli.main import main
from symdiag.report.schemas import schema_text

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"


def analysed(capsys, name, *options):
    assert (
        main(
            [
                "analyze",
                str(SAMPLES / name),
                "--activation",
                "relu",
                "--format",
                "json",
                "--exit-zero",
                *options,
            ]
        )
        == 0
    )
    report = json.loads(capsys.readouterr().out)
    jsonschema.validate(report, json.loads(schema_text("analyze")))
    return report


def test_a_separated_posterior_sits_at_the_ceiling(capsys):
    """I is log 6! = 6.58 nats there; the paper's estimate shows log K of them."""
    report = analysed(capsys, "wave-healthy.pt", "--samples", "30", "--infonce", "8")
    found = report["baseline"]
    assert found["ceiling"] == pytest.approx(math.log(8))
    assert found["mutual_information"]["value"] == pytest.approx(math.log(8), abs=1e-6)
    assert found["saturated"]
    assert report["total"]["mutual_information"]["value"] == pytest.approx(math.lgamma(7), abs=1e-3)


def test_a_nearly_symmetric_posterior_stays_below_it_and_below_ours(capsys, tmp_path):
    """Four equal units: I = 0, and so is what the estimate finds."""
    loc = {
        "fc1.weight": np.ones((4, 2)),
        "fc1.bias": np.ones(4),
        "fc2.weight": np.ones((1, 4)),
        "fc2.bias": np.ones(1),
    }
    arrays = {}
    for name, value in loc.items():
        layer, kind = name.split(".")
        arrays[f"{layer}.{kind}_mu"], arrays[f"{layer}.{kind}_std"] = (
            value,
            np.full(value.shape, 0.5),
        )
    np.savez(tmp_path / "equal.npz", **arrays)
    report = analysed(capsys, tmp_path / "equal.npz", "--infonce", "8", "--samples", "10")
    assert report["baseline"]["mutual_information"]["value"] == pytest.approx(0.0, abs=1e-9)
    assert not report["baseline"]["saturated"]
    assert report["total"]["straddling_entropy"]["value"] == pytest.approx(math.log(24), abs=1e-9)


def test_the_text_says_that_the_ceiling_was_reached(capsys):
    path = str(SAMPLES / "wave-healthy.pt")
    assert main(["analyze", path, "--activation", "relu", "--samples", "5", "--infonce", "20"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "log 20 = 3.00 nats, reached" in text


def test_one_element_is_no_estimate(capsys):
    assert main(["analyze", "x.pt", "--infonce", "1"]) == 2
