"""The same code on a GPU: same draws, same numbers. Skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import symdiag
from symdiag.estimators.densities import SlotDensity
from symdiag.estimators.sensitivity import sensitivity
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group, Member

SAMPLES = Path(__file__).parent.parent.parent / "sample_models"

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def random_group(width: int, size: int, *, signed: bool = False) -> tuple[Posterior, Group]:
    rng = np.random.default_rng(0)
    posterior = Posterior(
        {"w": rng.normal(size=(width, size))}, {"w": rng.uniform(0.2, 2.0, size=(width, size))}
    )
    return posterior, Group("h", width, (Member("w", 0),), signed)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("width", "size"), [(8, 5), (300, 400)])
def test_densities_agree(width, size, signed):
    posterior, group = random_group(width, size, signed=signed)
    draw = {
        n: torch.from_numpy(v) for n, v in posterior.sample(np.random.default_rng(1), 2).items()
    }
    tensors = [
        {n: torch.from_numpy(v) for n, v in p.items()} for p in (posterior.loc, posterior.scale)
    ]
    on_cpu = SlotDensity(group, *tensors)(draw)
    moved = [{n: v.cuda() for n, v in p.items()} for p in (*tensors, draw)]
    on_gpu = SlotDensity(group, *moved[:2])(moved[2]).cpu()
    torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-10, atol=1e-8)


def test_sensitivities_agree():
    posterior, group = random_group(12, 6)
    found = [
        sensitivity(posterior, group, draws=16, generator=np.random.default_rng(2), device=d)
        for d in ("cpu", "cuda")
    ]
    for name in ("confusion", "retention", "mean_shift", "log_std_shift"):
        np.testing.assert_allclose(getattr(found[0], name), getattr(found[1], name), atol=1e-9)


@pytest.mark.parametrize(
    ("name", "activation"),
    [("wave-straddled.pt", "relu"), ("wave-tanh.pt", "tanh"), ("digits.pt", "relu")],
)
def test_reports_agree(name, activation):
    found = [
        symdiag.analyze(SAMPLES / name, activation=activation, samples=16, device=d)
        for d in ("cpu", "cuda")
    ]
    cpu, gpu = (report.total.straddling_entropy for report in found)
    assert cpu.value == pytest.approx(gpu.value, abs=1e-8)
    assert cpu.upper == pytest.approx(gpu.upper, abs=1e-6)
    assert found[0].verdict == found[1].verdict
