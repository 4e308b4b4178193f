"""Every finding fires exactly when its condition holds; every code is explained."""

from __future__ import annotations

import dataclasses
import importlib
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from symdiag.diagnostics import findings
from symdiag.diagnostics.diagnose import straddling_verdict
from symdiag.diagnostics.diagnosis import (
    Context,
    Coverage,
    Dropped,
    GroupReport,
    Importance,
    ImportanceFit,
    NeuronInfo,
    Total,
)
from symdiag.diagnostics.findings import CATALOGUE, FAMILIES, collect
from symdiag.diagnostics.kl_weight.result import Cause, KlWeight, Part
from symdiag.estimate import Estimate

ROOT = Path(__file__).resolve().parents[2]


def estimate(value: float, half: float = 0.1) -> Estimate:
    return Estimate(value, half / 2, value - half, value + half, "exact-dp", 64)


def neuron(index: int, **changes: object) -> NeuronInfo:
    base = NeuronInfo(index, 1.0, (index + 1) % 3, 20.0, False, 0.0, 0.0)
    return dataclasses.replace(base, **changes)


def group(
    entropy: Estimate, neurons: tuple[NeuronInfo, ...] | None = None, name: str = "fc1"
) -> GroupReport:
    units = neurons or tuple(neuron(i) for i in range(3))
    return GroupReport(
        name, len(units), False, math.lgamma(len(units) + 1), entropy, estimate(1.0), 1.0, units, ()
    )


def kl_weight(**changes: object) -> KlWeight:
    cause = Cause("full-per-batch", 9.27, "KL in full on every minibatch of 100 of 927", None, 100)
    base = KlWeight(
        value=9.0,
        std_error=0.05,
        lower=8.9,
        upper=9.1,
        method="local-reparametrization",
        samples=3072,
        status="ok",
        fit=0.98,
        scatter=0.05,
        unsettled=0.1,
        intercept=0.01,
        intercept_error=0.02,
        informative=40.0,
        convention="summed",
        means=Part("means", 8.8, 0.2, 20.0),
        halves=(Part("first half", 9.1, 0.1, 20.0), Part("second half", 8.9, 0.1, 20.0)),
        layers=(Part("fc1.weight", 9.0, 0.1, 30.0), Part("fc1.bias", None, math.inf, 0.0)),
        causes=(cause,),
        reasons=(),
        assumptions=("gaussian likelihood", "noise std 0.3"),
        noise_std=0.3,
        squared_error_weight=0.01,
        points=((-0.9, -8.1, 0.01), (-0.5, -4.4, 0.02)),
    )
    return dataclasses.replace(base, **changes)


def context(*groups: GroupReport, threshold: float = 1.0, **changes: object) -> Context:
    total = sum(g.straddling_entropy.value for g in groups)
    width = sum(g.straddling_entropy.upper - g.straddling_entropy.value for g in groups)
    whole = estimate(total, width)
    log_order = sum(g.log_order for g in groups)
    base = Context(
        path="m.pt",
        groups=groups,
        total=Total(log_order, whole, estimate(1.0), 1.0),
        verdict=straddling_verdict(whole, log_order, threshold),
        max_straddling=threshold,
        activation="relu",
        parameters=100,
    )
    return dataclasses.replace(base, **changes)


def importance_fit(k: float | None, error: float = 0.1) -> ImportanceFit:
    return ImportanceFit(k, error, 0.67, 20.0, estimate(-90.0))


def codes(found: Context) -> list[str]:
    return [f.code for f in collect(found)]


def test_a_healthy_posterior_has_no_findings():
    assert codes(context(group(estimate(0.1)))) == []


def test_straddling_names_the_groups_above_the_threshold():
    found = collect(context(group(estimate(1.5), name="a"), group(estimate(0.2), name="b")))
    assert [(f.code, f.group) for f in found] == [("SYM001", "a")]
    assert found[0].measured == 1.5


def test_a_total_above_the_threshold_names_its_largest_group_when_none_is_above_alone():
    found = collect(context(group(estimate(0.7), name="a"), group(estimate(0.8), name="b")))
    assert [(f.code, f.group) for f in found] == [("SYM001", "b")]


def test_an_interval_around_the_threshold_is_undecided():
    assert codes(context(group(estimate(1.0, 0.3)))) == ["SYM002"]


def test_collapse_needs_two_units():
    one = tuple(neuron(i, collapsed=i < 1) for i in range(3))
    two = tuple(neuron(i, collapsed=i < 2) for i in range(3))
    assert codes(context(group(estimate(0.1), one))) == []
    found = collect(context(group(estimate(0.1), two)))
    assert [(f.code, f.neurons) for f in found] == [("SYM003", (0, 1))]


@pytest.mark.parametrize(
    ("changes", "fires"),
    [
        ({"separation": 3.3, "retention": 0.7}, True),
        ({"separation": 3.5, "retention": 0.7}, False),  # two orders 4.95 stds apart: beyond 4.82
        ({"separation": 3.3, "retention": 0.95}, False),
        ({"separation": 3.3, "retention": 0.7, "collapsed": True}, False),
        ({"separation": None, "retention": 0.7}, False),
    ],
)
def test_twins(changes, fires):
    units = (neuron(0, **changes), neuron(1), neuron(2))
    assert codes(context(group(estimate(0.1), units))) == (["SYM004"] if fires else [])


def test_conditions_of_the_symmetry_group():
    base = context(group(estimate(0.1)))
    changed = dataclasses.replace(
        base,
        activation=None,
        dropped=(Dropped("gn", 0.3, 1e-6),),
        prior_not_invariant=("fc1.weight",),
        assumptions=("read as a chain", "activation unknown: …", "prior-not-invariant: …"),
        deterministic_parameters=10,
        correlated=True,
        notes=("budget",),
    )
    assert sorted(codes(changed)) == [
        "SYM101",
        "SYM102",
        "SYM103",
        "SYM104",
        "SYM105",
        "SYM106",
        "SYM201",
    ]


@pytest.mark.parametrize(
    ("plain", "symmetrized", "code"),
    [
        (0.3, 0.2, None),
        (1.4, 0.5, "SYM312"),
        (1.4, 1.2, "SYM311"),
        (0.72, 0.72, None),  # within one standard error of the limit: not decided
        (None, None, None),
    ],
)
def test_the_tail_of_the_weights_says_what_separates_q_from_the_posterior(plain, symmetrized, code):
    found = Importance(importance_fit(plain), importance_fit(symmetrized))
    assert codes(context(group(estimate(0.1)), importance=found)) == ([code] if code else [])


@pytest.mark.parametrize(
    ("share", "lower", "upper", "fires"),
    [(0.86, 0.82, 0.90, False), (0.80, 0.74, 0.85, True), (0.99, 0.97, 1.0, True)],
)
def test_intervals_that_miss_their_level_by_more_than_chance_are_a_finding(
    share, lower, upper, fires
):
    found = context(group(estimate(0.1)), coverage=(Coverage(0.9, share, lower, upper, 200),))
    assert codes(found) == (["SYM313"] if fires else [])


def test_findings_come_worst_first():
    units = tuple(neuron(i, collapsed=True) for i in range(3))
    severities = [
        f.severity for f in collect(context(group(estimate(1.7), units), activation=None))
    ]
    assert severities == ["error", "warning", "info"]


@pytest.mark.parametrize(
    ("value", "half", "verdict"),
    [
        (0.8, 0.1, "ok"),
        (1.2, 0.1, "straddling"),
        (1.05, 0.1, "inconclusive"),
        (0.95, 0.1, "inconclusive"),
    ],
)
def test_verdict_compares_the_whole_interval(value, half, verdict):
    assert straddling_verdict(estimate(value, half), math.log(6), 1.0) == verdict


def test_a_trivial_group_has_no_verdict():
    assert straddling_verdict(estimate(0.0, 0.0), 0.0, 1.0) == "not-applicable"


def test_nothing_is_an_error_on_an_assumed_network():
    found = context(
        group(estimate(5.0)),
        verdict="inconclusive",
        verdict_if_chain="straddling",
        assumed_network="read as a plain chain, although two widths agree",
        assumptions=("read as a plain chain, although two widths agree: confirm with --model",),
    )
    assert codes(found) == ["SYM001", "SYM107"]
    assert all(f.severity == "warning" for f in collect(found))


def test_the_kl_weight_is_found_where_it_is_known_and_not_one():
    def found(**changes):
        return codes(context(group(estimate(0.1)), kl_weight=kl_weight(**changes)))

    assert found() == ["SYM301"]
    assert found(lower=0.9) == []
    # an average within tensors is not the ELBO, whatever its mean over weights
    assert found(lower=0.9, convention="tensor-mean") == ["SYM301"]
    assert found(status="not-stationary") == ["SYM302"]
    assert found(status="undetermined", value=None) == []


EVERYTHING = (
    context(group(estimate(0.1))),
    context(group(estimate(1.0, 0.3))),
    context(
        group(estimate(5.0), tuple(neuron(i, collapsed=i < 2, retention=0.2) for i in range(4))),
        group(estimate(5.0), tuple(neuron(i, separation=0.5, retention=0.2) for i in range(4))),
        activation=None,
        dropped=(Dropped("gn", 0.3, 1e-6),),
        prior_not_invariant=("fc1.weight",),
        assumptions=("read as a chain",),
        deterministic_parameters=10,
        correlated=True,
        notes=("budget",),
    ),
    context(
        group(estimate(5.0)),
        verdict="inconclusive",
        verdict_if_chain="straddling",
        assumed_network="read as a plain chain, although ...",
    ),
    context(
        group(estimate(0.1)),
        importance=Importance(importance_fit(1.4), importance_fit(0.3)),
        coverage=(Coverage(0.9, 0.7, 0.65, 0.75, 200),),
    ),
    context(group(estimate(0.1)), importance=Importance(importance_fit(1.4), importance_fit(1.4))),
    context(group(estimate(0.1)), kl_weight=kl_weight()),
    context(group(estimate(0.1)), kl_weight=kl_weight(status="not-stationary", reasons=("x",))),
)
SECTION = re.compile(r"(docs/[\w/.-]+\.md), '([^']+)'")


@pytest.mark.parametrize("name", findings.family_names())
class TestFamily:
    """What every family owes; a new file in ``findings/`` is met here by itself."""

    def test_its_codes_are_its_own_and_stable_in_form(self, name):
        family = importlib.import_module(f"{findings.__name__}.{name}")
        own = [e.code for e in family.EXPLANATIONS]
        others = [e.code for f in FAMILIES if f is not family for e in f.EXPLANATIONS]
        assert own
        assert len(set(own)) == len(own)
        assert not set(own) & set(others)
        assert all(re.fullmatch(r"SYM\d{3}", code) for code in own)
        assert set(own) <= set(CATALOGUE)

    def test_each_code_is_explained_in_sentences(self, name):
        for e in importlib.import_module(f"{findings.__name__}.{name}").EXPLANATIONS:
            assert e.title
            assert not e.title.endswith(".")
            assert e.meaning.endswith(".")
            assert e.action.endswith(".")

    def test_each_reference_is_a_section_of_the_shipped_docs_or_a_publication(self, name):
        for e in importlib.import_module(f"{findings.__name__}.{name}").EXPLANATIONS:
            cited = SECTION.findall(e.reference)
            assert cited or "et al." in e.reference, e.reference
            for path, title in cited:
                text = (ROOT / path).read_text("utf-8")
                assert re.search(rf"^#+ {re.escape(title)}$", text, re.MULTILINE), (path, title)

    def test_each_finding_names_a_code_that_it_explains_and_what_it_measured(self, name):
        family = importlib.import_module(f"{findings.__name__}.{name}")
        explained = {e.code for e in family.EXPLANATIONS}
        for made in EVERYTHING:
            names = {g.name for g in made.groups} | {d.group for d in made.dropped}
            for found in family.find(made):
                assert found.code in explained
                assert found.message
                assert found.group is None or found.group in names
                assert found.threshold is None or found.measured is not None


def test_every_code_of_the_catalogue_can_be_found():
    seen = {f.code for made in EVERYTHING for f in collect(made)}
    undecided_or_not = {"SYM001", "SYM002"}
    assert seen | undecided_or_not == set(CATALOGUE)


def test_the_catalogue_imports_no_heavy_package():
    script = "import sys, symdiag.diagnostics.findings; print([m for m in ('torch', 'scipy', 'numba') if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
