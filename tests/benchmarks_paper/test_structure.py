"""Nearest modes, and the enumeration of two-layer groups."""

import numpy as np
import pytest
import torch

from benchmarks.paper.layers import elements, ratios
from benchmarks.paper.nearest import nearest_by_enumeration, nearest_mode, theorem_bound
from benchmarks.paper.nets import Net
from symdiag.symmetry.elements import Element, act


@pytest.mark.parametrize("seed", range(4))
def test_nearest_mode_is_a_transposition(seed):
    units = np.random.default_rng(seed).standard_normal((6, 3))
    assert nearest_mode(units) == pytest.approx(nearest_by_enumeration(units), rel=1e-12)


def test_bound_of_the_theorem():
    assert theorem_bound((784, 30, 10)) == pytest.approx(
        2 * (30 * 795 + 10) / np.log(float(np.prod(np.arange(1.0, 31.0))))
    )


@pytest.mark.parametrize("net", [Net((2, 3, 2, 1), "relu"), Net((1, 2, 3, 1), "tanh")], ids=str)
def test_ratios_are_density_ratios_of_transformed_weights(net):
    """Against the package's group action and the Gaussian density itself, element by element."""
    rng = np.random.default_rng(0)
    loc, scale = rng.standard_normal(net.size), rng.uniform(0.3, 0.9, net.size)
    draw = loc + scale * rng.standard_normal(net.size)
    table = ratios(net, loc, scale, draw)
    posterior = net.posterior(torch.from_numpy(loc), torch.from_numpy(scale))
    named = net.posterior(torch.from_numpy(draw), torch.from_numpy(scale)).loc

    def log_q(weights):
        return sum(
            float((-0.5 * ((weights[n] - posterior.loc[n]) / posterior.scale[n]) ** 2).sum())
            for n in posterior.loc
        )

    (p1, e1), (p2, e2) = (elements(w, net.signed) for w in net.sizes[1:3])
    for a, b in zip(rng.integers(0, len(p1), 8), rng.integers(0, len(p2), 8), strict=True):
        action = {"fc1": Element(p1[a], e1[a]), "fc2": Element(p2[b], e2[b])}
        moved = act(net.spec, action, named)
        assert table[a, b] == pytest.approx(log_q(moved) - log_q(named), abs=1e-9)
