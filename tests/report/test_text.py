"""Numbers and names as they are shown."""

import dataclasses
import math

import pytest
from report_examples import estimate, finding, report

from symdiag.estimate import modes
from symdiag.report import RenderOptions, from_dict, render
from symdiag.report.codec import to_object
from symdiag.report.kinds.align import Agreement, AlignedTo, Distance, Proof
from symdiag.report.kinds.analyze import Elbo
from symdiag.report.parts import Side
from symdiag.report.text import (
    amount,
    ascii_safe,
    listing,
    number,
    percent,
    plural,
    printable,
    sentence,
)


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (None, 3, "n/a"),
        (0.0, 3, "0.000"),
        (-0.0001, 3, "0.000"),
        (-0.0006, 3, "-0.001"),
        (9.4215, 3, "9.421"),
        (41.816, 3, "41.82"),
        (20.0, 1, "20.0"),
        (123.456, 3, "123.5"),
        (1234.56, 3, "1235"),
        (32817.2, 1, "32817"),
        (-118.5, 2, "-118.5"),
        (1.25e7, 3, "1.25e+07"),
        (math.inf, 3, "∞"),
        (-math.inf, 3, "−∞"),
    ],
)
def test_number(value, digits, shown):
    assert number(value, digits) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(13.0, "13"), (1.0, "1"), (0.5, "0.500"), (1e5, "100,000"), (math.inf, "∞")],
)
def test_amount(value, shown):
    assert amount(value) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [(1.0, "1.0"), (24.0, "24.0"), (232.4, "232"), (3232.7, "3,233"), (7.9e13, "7.9e+13")],
)
def test_modes(count, shown):
    assert modes(math.log(count)) == shown


def test_modes_beyond_a_double_are_a_power_of_ten():
    assert modes(1000 * math.log(10)) == "10^1000.0"
    assert modes(math.inf) == "∞"


def test_words():
    assert listing((1, 2, 3)) == "1, 2, 3"
    assert listing(tuple(range(20)), 3) == "0, 1, 2 and 17 more"
    assert plural(1, "weight") == "1 weight"
    assert plural(1200, "weight") == "1,200 weights"
    assert percent(1, 8) == "12.5 %"
    assert percent(0, 0) == "n/a"
    assert (sentence("a"), sentence("a."), sentence("why?")) == ("a.", "a.", "why?")


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("fc1.weight", "fc1.weight"),
        ("Größe σ", "Größe σ"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u202eabc", "\\u202eabc"),
        ("\ud800", "\\ud800"),
        ("::error::x", "\\x3a:error\\x3a:x"),
        ("##[error]x", "\\x23#[error]x"),
        (":::", "\\x3a::"),
    ],
)
def test_printable(raw, shown):
    assert printable(raw) == shown


def test_ascii_safe_spells_our_symbols_and_escapes_the_rest():
    assert ascii_safe("H(g|ω) ≤ 1 ± σ → ∞") == "H(g|w) <= 1 +/- sigma -> inf"
    assert ascii_safe("Größe") == "Gr\\xf6\\xdfe"


def test_evidence_and_alignment_are_shown_where_given():
    elbo = Elbo(estimate(-120.5), estimate(-94.25), estimate(-80.0), 33.5)
    section = AlignedTo(
        reference=Side("ref.pt", "0", "npz/blitz"),
        distance=Distance("w2", "", 4.0, 1.0, 0.75),
        certificate=Proof("optimal", "optimal (assignment)", 1.0, 0.0, "assignment", 1.0, 1),
        before=Agreement(2.0, 0.9),
        after=Agreement(1.0, 0.1),
        verdict="same mode up to symmetry",
        groups=(),
    )
    made = dataclasses.replace(report(), elbo=elbo, test={"nll": 0.5631}, alignment=section)
    text = " ".join(render(made, "text").split())
    for fact in (
        "ELBO -120.5 nats",
        "symmetrised ELBO -94.25 nats",
        "KL to the prior 33.50",
        "test nll 0.5631",
    ):
        assert fact in text
    for fact in ("ref.pt", "4.000 before, 1.000 after; 75.0 % was labels", "optimal (assignment)"):
        assert fact in text
    assert from_dict(to_object(made)) == made


def test_placeholders_in_hints_become_the_quoted_path():
    made = report(
        path="my model.pt", findings=(finding(hint="symdiag retrain MODEL --data MODELS.npz"),)
    )
    assert "symdiag retrain 'my model.pt' --data MODELS.npz" in render(
        made, "text", RenderOptions(width=120)
    )


@pytest.mark.parametrize(
    ("verdict", "advice"),
    [
        ("ok", "symdiag compare"),
        ("straddling", "symdiag retrain"),
        ("inconclusive", "--samples 256"),
    ],
)
def test_there_is_always_a_next_step(verdict, advice):
    assert advice in " ".join(render(report(verdict, findings=()), "text").split())
    assert "nothing" in render(report("not-applicable", findings=()), "text")
