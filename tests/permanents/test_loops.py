"""The compiled loops against their own source, run uncompiled on small inputs."""

import numpy as np
import pytest
from permanent_cases import gaussian

from symdiag.permanents import gaussian_swaps, loops, smc, swap_loops
from symdiag.permanents.exact import _popcounts


@pytest.fixture
def uncompiled(monkeypatch):
    """Every loop replaced by the plain Python function it was compiled from."""
    for module in (loops, swap_loops, gaussian_swaps):
        for name in dir(module):
            function = getattr(module, name)
            if hasattr(function, "py_func"):
                monkeypatch.setattr(module, name, function.py_func)


def _subset(marginals):
    weights = np.random.default_rng(0).random((5, 5))
    found = np.zeros((5, 5))
    backward = np.empty(32 if marginals else 0)
    return loops.subset_permanent(weights, np.empty(32), backward, _popcounts(5), found), found


def _advance():
    proposal = smc.prepare(gaussian(70, 5, 0.7, np.random.default_rng(1)))
    rng = np.random.default_rng(2)
    free = np.ones((6, 70), dtype=np.uint8)
    choices = np.zeros((70, 6), dtype=np.int64)
    log_weight, log_proposal = np.zeros(6), np.zeros(6)
    forced = proposal.to_choices(np.arange(70)[None])
    odds = proposal.odds.copy()
    odds[odds < 1e-3] = 0.0  # so that some particles run into dead ends
    loops.advance(
        free, odds, proposal.log_h, rng.random((70, 6)), forced, choices, log_weight, log_proposal
    )
    return choices, log_weight, log_proposal


def _chain(*, informed=False, partners=False):
    matrix = gaussian(8, 5, 0.5, np.random.default_rng(3))
    proposal = np.random.default_rng(4).random((8 if informed else 0, 8))
    state, occupation = np.arange(8), np.zeros((8, 8))
    lists = (
        (np.arange(8)[:, None] + [1, 1, 2]) % 8 if partners else np.empty((8, 0), dtype=np.int64)
    )
    running = proposal.cumsum(axis=1)
    accepted = swap_loops.swap_loop(
        matrix, running, proposal, lists, np.uint64(5), 400, 40, state, occupation
    )
    return accepted, state, occupation


def _moments(flips):
    rng = np.random.default_rng(8)
    mean, scale = rng.standard_normal((2, 6, 3))
    half = 0.5 * scale**-2.0
    slots = gaussian_swaps.GaussianSlots(2.0 * half * mean, half, -(half * mean**2).sum(1), flips)
    draws = mean + scale * rng.standard_normal((2, 6, 3))
    partners = (np.arange(6)[:, None] + [1, 3]) % 6
    found = gaussian_swaps.swap_moments(slots, draws, partners, rng, proposals=200)
    return found.first, found.second, found.weighted, found.half_precision


def _bethe():
    weights = np.random.default_rng(6).random((9, 9))
    rows, columns = np.ones((9, 9)), np.empty((9, 9))
    return loops.bethe_sweeps(weights, rows, columns, 300, 0.0), rows, columns


@pytest.mark.filterwarnings("ignore:overflow encountered")  # uint64 arithmetic wraps, as meant
@pytest.mark.parametrize(
    "call",
    [
        lambda: _subset(False),
        lambda: _subset(True),
        _advance,
        lambda: _chain(informed=True),
        _chain,
        lambda: _chain(partners=True),
        lambda: _moments(None),
        lambda: _moments(2),
        _bethe,
    ],
)
def test_compiled_equals_source(call, request):
    compiled = call()
    request.getfixturevalue("uncompiled")
    source = call()
    for one, other in zip(compiled, source, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)
