"""Running statistics move with the units but are no part of the posterior: they neither break nor change H."""

from __future__ import annotations

import numpy as np
import pytest

import symdiag
from symdiag.posterior import Posterior

SHAPES = {
    "0.weight": (4, 3),
    "0.bias": (4,),
    "1.weight": (4,),
    "1.bias": (4,),
    "3.weight": (2, 4),
    "3.bias": (2,),
}


def test_a_batchnorm_network_is_analysed():
    generator = np.random.default_rng(0)
    loc = {name: 0.3 * generator.standard_normal(shape) for name, shape in SHAPES.items()}
    scale = {name: np.full(shape, 0.4) for name, shape in SHAPES.items()}
    found = []
    for spread in (0.1, 2.0):
        buffers = {
            "1.running_mean": spread * generator.standard_normal(4),
            "1.running_var": np.full(4, spread),
        }
        report = symdiag.analyze(Posterior(loc, scale, buffers), activation="relu", samples=64)
        (group,) = report.groups
        assert group.log_order == pytest.approx(np.log(24))
        found.append(report.total.straddling_entropy.value)
    assert found[0] == found[1]
    assert 0.3 < found[0] < np.log(24)
