"""What discovery and the reports say of tensors of which a group owns a part."""

import numpy as np
import torch
from architectures import posterior_of_module
from concatenations import CASES

from symdiag import analyze
from symdiag.priors import GaussianPrior
from symdiag.symmetry.discovery import uncovered_tensors
from symdiag.symmetry.spec import Group, Member, PermutationSpec
from symdiag.symmetry.tracing import trace_spec
from symdiag.symmetry.verification import prior_violations


def raw_input():
    torch.manual_seed(0)
    module = CASES["raw input"][0]().double().eval()
    return module, CASES["raw input"][1], posterior_of_module(module, np.random.default_rng(0))


def test_parameters_outside_the_range_are_accounted():
    module, inputs, posterior = raw_input()
    spec = trace_spec(module, (inputs,)).spec
    left = {name: count for name, count, _ in uncovered_tensors(posterior, spec)}
    assert left == {"b.weight": 2 * 4, "b.bias": 2}  # the columns that read the input itself


def test_a_group_on_the_other_axis_covers_the_rest():
    groups = (Group("h", 2, (Member("w", 1, start=1),)), Group("rows", 3, (Member("w", 0),)))
    assert PermutationSpec(groups[:1]).left_out("w", (3, 4)) == 3 * 2
    assert PermutationSpec(groups).left_out("w", (3, 4)) == 0
    assert PermutationSpec(()).left_out("w", (3, 4)) == 12


def test_reports_count_what_the_ranges_cover(tmp_path, monkeypatch):
    (tmp_path / "cat_nets.py").write_text(
        "from test_range_coverage import raw_input\ndef net():\n    return raw_input()[:2]\n"
    )
    monkeypatch.chdir(tmp_path)
    posterior = raw_input()[2]
    report = analyze(posterior, model="cat_nets:net", samples=8)
    assert {g.name: g.width for g in report.groups} == {"a": 6}
    assert report.model.covered_parameters == posterior.num_parameters - 2 * 4 - 2
    assert {u.name: u.parameters for u in report.model.uncovered} == {"b.weight": 8, "b.bias": 2}


def test_priors_are_compared_within_the_range():
    module, inputs, posterior = raw_input()
    spec = trace_spec(module, (inputs,)).spec
    scale = {name: np.ones_like(v) for name, v in posterior.loc.items()}
    loc = {name: np.zeros_like(v) for name, v in posterior.loc.items()}
    scale["b.weight"][:, 0] = 2.0  # an input's column may have a prior of its own
    assert prior_violations(spec, posterior.replace(prior=GaussianPrior(loc, scale))) == ()
    scale["b.weight"][:, 5] = 2.0
    assert prior_violations(spec, posterior.replace(prior=GaussianPrior(loc, scale))) == (
        ("b.weight", "a"),
    )
