"""Posteriors in two files each (laplace-torch's): one companion for all, or one for each."""

import json

import numpy as np
import pytest
import torch

from symdiag.cli.main import main
from symdiag.formats import load

SHAPES = {"0.weight": (5, 3), "0.bias": (5,), "2.weight": (2, 5), "2.bias": (2,)}
ORDER = [3, 0, 4, 1, 2]


def save(name, tensors, curvature):
    """``name``.bin as laplace-torch writes it, and ``name``-model.pt."""
    torch.save(dict(tensors), f"{name}-model.pt")
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors.values()])
    numbers = {"mean": flat, "H": torch.cat([c.reshape(-1) for c in curvature.values()])}
    settings = {
        "prior_precision": torch.tensor(1.0),
        "cls_name": "DiagLaplace",
        "sigma_noise": 1.0,
        "temperature": 1.0,
    }
    torch.save({**numbers, **settings}, f"{name}.bin")


def relabelled(tensors):
    moved = {
        name: tensor[ORDER] if name.startswith("0") else tensor for name, tensor in tensors.items()
    }
    return {**moved, "2.weight": tensors["2.weight"][:, ORDER]}


@pytest.fixture(autouse=True)
def _two_posteriors():
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    curvature = {
        name: 1.0 + torch.rand(shape, generator=generator) * 900 for name, shape in SHAPES.items()
    }
    save("a", tensors, curvature)
    save("b", relabelled(tensors), relabelled(curvature))


BOTH = ("--companion", "a-model.pt", "--companion", "b-model.pt")


def test_align_reads_each_file_with_its_own_model_and_writes_both_back(capsys):
    assert main(["align", "a.bin", "b.bin", *BOTH, "-o", "c.bin", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "same mode up to symmetry"
    moved, wanted = load("c.bin", companion="c-a-model.pt"), load("b.bin", companion="b-model.pt")
    for name in SHAPES:
        np.testing.assert_array_equal(moved.loc[name], wanted.loc[name])
        np.testing.assert_array_equal(moved.scale[name], wanted.scale[name])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["analyze", "a.bin", "b.bin", *BOTH], 0),
        (["analyze", "a.bin", "--reference", "b.bin", *BOTH], 0),
        (["analyze", "a.bin", "a.bin", "--companion", "a-model.pt"], 0),
        (["compare", "a.bin", "b.bin", *BOTH], 0),
        (["align", "a.bin", "b.bin", "--universe", *BOTH], 0),
        (["analyze", "a.bin", *BOTH], 2),
        (["analyze", "a.bin", "b.bin", "--companion", "a-model.pt"], 2),
    ],
)
def test_companions_go_with_the_files_in_their_order(arguments, code):
    assert (
        main([*arguments, "--max-straddling", "50"] if arguments[0] == "analyze" else arguments)
        == code
    )
