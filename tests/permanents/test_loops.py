"""The compiled loops against their own source, run uncompiled on small inputs."""

import numpy as np
import pytest
from permanent_cases import gaussian

from symdiag.permanents import loops, smc
from symdiag.permanents.exact import _popcounts


@pytest.fixture
def uncompiled(monkeypatch):
    """Every loop replaced by the plain Python function it was compiled from."""
    for name in dir(loops):
        function = getattr(loops, name)
        if hasattr(function, "py_func"):
            monkeypatch.setattr(loops, name, function.py_func)
    return loops


def _subset(module, marginals):
    weights = np.random.default_rng(0).random((5, 5))
    found = np.zeros((5, 5))
    backward = np.empty(32 if marginals else 0)
    return module.subset_permanent(weights, np.empty(32), backward, _popcounts(5), found), found


def _advance(module):
    proposal = smc.prepare(gaussian(70, 5, 0.7, np.random.default_rng(1)))
    rng = np.random.default_rng(2)
    free = np.ones((6, 70), dtype=np.uint8)
    choices = np.zeros((70, 6), dtype=np.int64)
    log_weight, log_proposal = np.zeros(6), np.zeros(6)
    forced = proposal.to_choices(np.arange(70)[None])
    odds = proposal.odds.copy()
    odds[odds < 1e-3] = 0.0  # so that some particles run into dead ends
    module.advance(
        free, odds, proposal.log_h, rng.random((70, 6)), forced, choices, log_weight, log_proposal
    )
    return choices, log_weight, log_proposal


def _chain(module, *, informed):
    matrix = gaussian(8, 5, 0.5, np.random.default_rng(3))
    proposal = np.random.default_rng(4).random((8 if informed else 0, 8))
    state, occupation = np.arange(8), np.zeros((8, 8))
    accepted = module.swap_loop(
        matrix, proposal.cumsum(axis=1), proposal, np.uint64(5), 400, 40, state, occupation
    )
    return accepted, state, occupation


def _bethe(module):
    weights = np.random.default_rng(6).random((9, 9))
    rows, columns = np.ones((9, 9)), np.empty((9, 9))
    return module.bethe_sweeps(weights, rows, columns, 300, 0.0), rows, columns


@pytest.mark.filterwarnings("ignore:overflow encountered")  # uint64 arithmetic wraps, as meant
@pytest.mark.parametrize(
    "call",
    [
        lambda m: _subset(m, False),
        lambda m: _subset(m, True),
        _advance,
        lambda m: _chain(m, informed=True),
        lambda m: _chain(m, informed=False),
        _bethe,
    ],
)
def test_compiled_equals_source(call, request):
    compiled = call(loops)
    source = call(request.getfixturevalue("uncompiled"))
    for one, other in zip(compiled, source, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)
