"""Whatever a tree holds, reading it ends in a sound posterior or in one of our own errors."""

import copy
import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symdiag.errors import SymdiagError
from symdiag.formats import interpret, to_raw
from symdiag.formats.interface import RawCheckpoint, ReadOptions
from symdiag.formats.transforms import BY_NAME

WORDS = [
    "mu",
    "rho",
    "sigma",
    "log_sigma",
    "logvar",
    "std",
    "scale",
    "loc",
    "mean",
    "sq_mean",
    "var",
    "p",
    "eps",
    "prior_mu",
]
PARTS = ["weight", "bias", "W", "b", "kernel", "running"]
PATTERNS = [
    "{part}_{word}", "{word}_{part}", "_{part}_{word}", "{part}_sampler.{word}", "{part}_prior_dist.{word}",
    "{part}_auto_{word}", "reparametrizations.{part}.variational_posterior.{word}", "locs.{part}_unconstrained",
    "scales.{part}_unconstrained", "{part}.{word}_unconstrained", "{word}", "{word}_unconstrained", "{part}",
    "{part}_cov_mat_sqrt", "running_mean",
]  # fmt: skip
KEYS = st.builds(
    lambda layer, pattern, part, word: layer + pattern.format(part=part, word=word),
    st.sampled_from(["", "fc1.", "module.fc1.", "net.0."]),
    st.sampled_from(PATTERNS),
    st.sampled_from(PARTS),
    st.sampled_from(WORDS),
)
NUMBERS = st.sampled_from([0.0, 1.0, -3.0, 0.5, 1e-30, -200.0, 1e30, math.nan, math.inf, 2.0])
SHAPES = st.sampled_from([(), (1,), (2,), (2, 3), (3, 2), (0,), (2, 0), (2, 2, 1)])
DTYPES = st.sampled_from(
    [np.float32, np.float64, np.float16, np.int64, np.bool_, np.uint8, np.complex64]
)


def array(shape, number, dtype):
    """As a file could hold it; no NaN where the dtype has none."""
    kind = np.dtype(dtype).kind
    with np.errstate(all="ignore"):
        return np.full(shape, number if kind == "f" else 3).astype(dtype)


ARRAYS = st.builds(array, SHAPES, NUMBERS, DTYPES)
LEAVES = st.one_of(ARRAYS, ARRAYS, ARRAYS, NUMBERS, st.none(), st.text(max_size=3))
FLAT = st.dictionaries(KEYS, LEAVES, max_size=8)
SPECIAL = st.sampled_from(
    [
        "mean",
        "H",
        "prior_precision",
        "cls_name",
        "sigma_noise",
        "temperature",
        "params",
        "log_sd_diag",
        "constraints",
        "hess",
        "ess",
        "weight_decay",
        "param_groups",
        "state_dict",
        "cov_factor",
        "scale_tril",
        "loc",
        "scale",
        "prior_mean",
    ]
)
TREES = st.one_of(
    FLAT,
    st.recursive(
        st.one_of(LEAVES, FLAT),
        lambda inner: st.one_of(
            st.dictionaries(st.one_of(SPECIAL, KEYS), inner, max_size=6),
            st.lists(inner, max_size=3),
        ),
        max_leaves=12,
    ),
)
OPTIONS = st.builds(
    ReadOptions,
    scale_transform=st.one_of(st.none(), st.sampled_from(sorted(BY_NAME))),
    model_shapes=st.one_of(st.none(), st.dictionaries(KEYS, SHAPES, max_size=4)),
)


def check(tree, options):
    try:
        posterior = interpret(RawCheckpoint("a.pt", "0", "torch-zip", tree), options)
    except SymdiagError:
        return
    for name, loc in posterior.loc.items():
        assert np.isfinite(loc).all()
        assert np.isfinite(posterior.scale[name]).all()
        assert (posterior.scale[name] >= 0).all()
    assert any(scale.any() for scale in posterior.scale.values())
    to_raw(posterior)


@settings(max_examples=400, deadline=None)
@given(TREES, OPTIONS)
def test_any_tree(tree, options):
    check(tree, options)


CONFORMANCE = Path(__file__).parents[1] / "conformance"


def examples():
    """The conformance suite's example of each dialect."""
    for path in sorted((CONFORMANCE / "dialect_examples").glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"fuzz_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(CONFORMANCE))
            spec.loader.exec_module(module)
        yield module.EXAMPLE


EXAMPLES = list(examples())


def places(tree, path=()):
    """Every leaf's path."""
    items = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list | tuple)
        else None
    )
    if items is None:
        return [path]
    return [place for key, value in items for place in places(value, (*path, key))]


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(range(len(EXAMPLES))),
    st.lists(st.tuples(st.integers(0, 40), LEAVES), min_size=1, max_size=2),
)
def test_a_library_s_file_with_some_leaves_exchanged(which, exchanges):
    example = EXAMPLES[which]
    tree = copy.deepcopy(example.tree)
    for place, leaf in exchanges:
        spots = [path for path in places(tree) if path]
        *way, last = spots[place % len(spots)]
        node = tree
        for key in way:
            node = node[key]
        node[last] = leaf
    check(tree, example.options)


@pytest.mark.parametrize("which", range(len(EXAMPLES)))
def test_a_library_s_file_with_one_leaf_missing(which):
    example = EXAMPLES[which]
    for *way, last in places(example.tree):
        tree = copy.deepcopy(example.tree)
        node = tree
        for key in way:
            node = node[key]
        del node[last]
        check(tree, example.options)
