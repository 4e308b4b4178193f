"""Well-formed files with the wrong contents: the dialects refuse them, or give a posterior that can be written back."""

from typing import Any

import numpy as np
import pytest
from trees import library_trees, rearranged

from symdiag.errors import SymdiagError
from symdiag.formats import interpret, to_raw
from symdiag.formats.interface import RawCheckpoint

TREES = library_trees()
NEEDS_SHAPES = {"laplace"}


def _raw(tree: Any) -> RawCheckpoint:
    return RawCheckpoint("model.pt", "0" * 64, "torch-zip", tree)


@pytest.mark.parametrize("name", sorted(TREES.keys() - NEEDS_SHAPES))
def test_trees_are_read_as_their_library(name: str):
    posterior = interpret(_raw(TREES[name]))
    assert posterior.source is not None
    assert posterior.source.dialect.startswith(name.split("-")[0])
    assert posterior.num_parameters == 13


def _outcome(tree: Any) -> str:
    try:
        posterior = interpret(_raw(tree))
        to_raw(posterior)
    except SymdiagError as error:
        assert error.message.isprintable()  # noqa: PT017
        assert error.hint, error  # noqa: PT017
        return error.code
    for name in posterior.names:
        assert np.isfinite(posterior.loc[name]).all()
        assert np.isfinite(posterior.scale[name]).all()
        assert (posterior.scale[name] >= 0).all()
    return "posterior"


def _fuzz(count: int, seed: int) -> set[str]:
    rng = np.random.default_rng(seed)
    return {_outcome(rearranged(TREES[sorted(TREES)[i % len(TREES)]], rng)) for i in range(count)}


def test_a_thousand_rearrangements():
    assert _fuzz(1000, 0) >= {
        "posterior",
        "missing-scale",
        "no-scales-found",
        "shape-mismatch",
        "non-finite",
    }


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_twenty_thousand_rearrangements(seed: int):
    assert "malformed-checkpoint" in _fuzz(4000, seed)
