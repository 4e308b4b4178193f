"""What a notebook shows of posteriors, specs, alignments and results, and draws on their way to ArviZ."""

from pathlib import Path

import numpy as np
import pytest

import symdiag
from symdiag.errors import SymdiagError
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group, Member, PermutationSpec

STRADDLED = Path(__file__).resolve().parents[2] / "sample_models/wave-straddled.pt"


def one_line(text):
    return text.startswith("<") and text.endswith(">") and "\n" not in text and text.isprintable()


def test_a_posterior_is_a_line_and_a_row_per_tensor():
    posterior = symdiag.load(STRADDLED)
    assert one_line(repr(posterior))
    assert "61 weights in 4 tensors" in repr(posterior)
    shown = posterior._repr_html_()
    assert shown.count("<tr>") == 1 + len(posterior.names)
    low, high = posterior.scale["fc1.weight"].min(), posterior.scale["fc1.weight"].max()
    assert f"{low:.3g} to {high:.3g}" in shown
    rule = [line for line in posterior._repr_markdown_().splitlines() if set(line) <= set("|- ")]
    assert len(rule) == 2  # the empty line and the table's rule


def test_a_deterministic_tensor_has_no_range_of_stds():
    made = Posterior({"b": np.ones(2)}, {"b": np.zeros(2)})
    assert "deterministic" in made._repr_html_()
    assert "1 tensor," in repr(made)


def test_hostile_names_are_text_in_a_cell():
    name = "<script>|`*\n\x1b[31m"
    made = Posterior({name: np.ones(2)}, {name: np.ones(2)})
    assert "<script>" not in made._repr_html_()
    assert "\x1b" not in made._repr_html_()
    table = [line for line in made._repr_markdown_().splitlines() if "script" in line]
    assert len(table) == 1
    assert "\\<script\\>\\|" in table[0]


def test_many_tensors_are_counted_not_listed():
    many = {f"w{i}": np.ones(1) for i in range(100)}
    shown = Posterior(many, many)._repr_html_()
    assert shown.count("<tr>") == 1 + 12 + 1
    assert "88 more" in shown


def test_a_spec_says_its_groups_and_order():
    group = Group("fc1", 3, (Member("fc1.weight", 0),), signed=True)
    spec = PermutationSpec((group,))
    assert f"{np.log(6 * 8):.1f} nats" in repr(spec)
    assert "flip" in spec._repr_html_()
    assert one_line(repr(spec))


def test_results_show_their_report():
    found = symdiag.align(STRADDLED, STRADDLED, activation="relu", restarts=0)
    assert str(found) == str(found.report)
    assert found._repr_html_() == found.report._repr_html_()
    assert found._repr_markdown_() == found.report._repr_markdown_()
    assert one_line(repr(found))
    assert repr(found).startswith("<Aligned: align report of ")
    assert found.alignment._repr_html_().count("<tr>") == 2
    assert one_line(repr(found.alignment))


def draws(chains, count):
    """Draws around one network, half of them with two hidden units exchanged."""
    rng = np.random.default_rng(0)
    shapes = {"0.weight": (4, 2), "0.bias": (4,), "2.weight": (1, 4), "2.bias": (1,)}
    loc = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    made = {n: v + 0.02 * rng.normal(size=(chains, count, *v.shape)) for n, v in loc.items()}
    order = [1, 0, 2, 3]
    for name, axis in (("0.weight", 2), ("0.bias", 2), ("2.weight", 3)):
        made[name][:, ::2] = np.take(made[name][:, ::2], order, axis=axis)
    return made


def test_aligned_draws_go_to_arviz_and_come_back_in_one_labelling():
    pytest.importorskip("arviz")
    made = draws(3, 4)
    first = symdiag.analyze_samples(made, activation="tanh", chains=True, samples=4)
    assert first.report.off == pytest.approx(0.5)
    out = first.to_arviz()
    for name, values in made.items():
        assert out.posterior[name].shape == values.shape
        assert out.posterior[name].dims[:2] == ("chain", "draw")
    again = symdiag.analyze_samples(out, activation="tanh", samples=4).report
    assert again.off == 0.0
    assert again.input.chains == 3
    assert again.variance_before == pytest.approx(first.report.variance_after)
    # nobody said chains: one of them
    flat = {n: v.reshape(12, *v.shape[2:]) for n, v in made.items()}
    alone = symdiag.analyze_samples(flat, activation="tanh", samples=4).to_arviz()
    assert alone.posterior["0.bias"].shape == (1, 12, 4)


def test_without_arviz_the_error_says_how_to_get_it(monkeypatch):
    found = symdiag.analyze_samples(draws(2, 3), activation="tanh", chains=True, samples=4)
    monkeypatch.setitem(__import__("sys").modules, "arviz", None)
    with pytest.raises(SymdiagError) as caught:
        found.to_arviz()
    assert caught.value.code == "missing-extra"
    assert "pip install arviz" in caught.value.hint
