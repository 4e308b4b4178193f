"""``symdiag align`` on real files: what it writes, prints and exits with."""

from __future__ import annotations

import json
from importlib.resources import files

import jsonschema
import numpy as np
import pytest
import torch

from symdiag.cli.main import main

WIDTH, INPUTS = 8, 3


def state(generator):
    """A one-hidden-layer net in the mu/rho convention, stds by softplus."""
    shapes = {
        "fc1.weight": (WIDTH, INPUTS),
        "fc1.bias": (WIDTH,),
        "fc2.weight": (1, WIDTH),
        "fc2.bias": (1,),
    }
    made = {}
    for name, shape in shapes.items():
        made[f"{name}_mu"] = torch.tensor(generator.standard_normal(shape), dtype=torch.float64)
        made[f"{name}_rho"] = torch.tensor(generator.normal(-4.0, 0.3, shape), dtype=torch.float64)
    return made


def relabelled(tensors, permutation, signs):
    moved = {}
    for name, tensor in tensors.items():
        sign = (
            torch.tensor(signs) if name.endswith("_mu") else torch.ones(WIDTH, dtype=torch.float64)
        )
        if name.startswith("fc1.weight"):
            tensor = tensor[permutation] * sign[:, None]
        elif name.startswith("fc1.bias"):
            tensor = tensor[permutation] * sign
        elif name.startswith("fc2.weight"):
            tensor = tensor[:, permutation] * sign
        moved[name] = tensor
    return moved


def outputs(tensors, inputs):
    hidden = torch.tanh(inputs @ tensors["fc1.weight_mu"].T + tensors["fc1.bias_mu"])
    return hidden @ tensors["fc2.weight_mu"].T + tensors["fc2.bias_mu"]


@pytest.fixture
def pair(tmp_path):
    """(reference state, model state), saved; the model is the reference permuted and flipped."""
    generator = np.random.default_rng(0)
    reference = state(generator)
    permutation = generator.permutation(WIDTH)
    model = relabelled(reference, permutation, generator.choice([-1.0, 1.0], WIDTH))
    torch.save(reference, tmp_path / "reference.pt")
    torch.save(model, tmp_path / "model.pt")
    return reference, model


@pytest.fixture
def data(tmp_path, pair):
    generator = np.random.default_rng(1)
    x = generator.standard_normal((40, INPUTS))
    y = outputs(pair[0], torch.tensor(x)).numpy() + 0.1 * generator.standard_normal((40, 1))
    np.savez(tmp_path / "data.npz", X=x, y=y)
    return tmp_path / "data.npz"


COMMON = ["--activation", "tanh", "--scale-transform", "softplus", "--format", "json"]


def run(capsys, *arguments):
    code = main(["align", *arguments, *COMMON])
    captured = capsys.readouterr()
    return code, json.loads(captured.out)


def valid(report):
    schema = json.loads(
        (files("symdiag.report") / "schema" / f"{report['kind']}-1.json").read_text("utf-8")
    )
    jsonschema.validate(report, schema)
    return report


def test_the_aligned_file_is_the_reference_in_the_models_own_format(pair, capsys, tmp_path):
    reference, model = pair
    code, report = run(capsys, "model.pt", "reference.pt", "-o", "aligned.pt")
    assert code == 0
    valid(report)
    assert report["verdict"] == "same mode up to symmetry"
    assert report["distance"]["before"] > 1
    assert report["distance"]["after"] < 1e-20
    assert report["distance"]["relabelling_share"] == pytest.approx(1.0)
    assert report["certificate"]["status"] == "optimal"
    written = torch.load(tmp_path / "aligned.pt", weights_only=True)
    assert list(written) == list(model)
    inputs = torch.tensor(np.random.default_rng(2).standard_normal((20, INPUTS)))
    for name, tensor in written.items():
        assert torch.allclose(tensor, reference[name], atol=1e-12), name
    assert torch.allclose(outputs(written, inputs), outputs(model, inputs), rtol=1e-12)


def test_units_in_the_report_are_the_permutation_applied(pair, capsys, tmp_path):
    _, model = pair
    _, report = run(capsys, "model.pt", "reference.pt", "-o", "aligned.pt")
    (group,) = report["groups"]
    source = [unit["source"] for unit in group["units"]]
    sign = torch.tensor([float(unit["sign"]) for unit in group["units"]])
    written = torch.load(tmp_path / "aligned.pt", weights_only=True)
    assert torch.allclose(written["fc1.weight_mu"], model["fc1.weight_mu"][source] * sign[:, None])
    assert group["transpositions"] >= 1
    assert group["ambiguous"] == []


def test_aligning_twice_changes_nothing(pair, capsys, tmp_path):
    run(capsys, "model.pt", "reference.pt", "-o", "aligned.pt")
    _, report = run(capsys, "aligned.pt", "reference.pt", "-o", "again.pt")
    first, second = (
        torch.load(tmp_path / f, weights_only=True) for f in ("aligned.pt", "again.pt")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert report["groups"][0]["moved"] == 0


def test_data_adds_the_path_and_the_barrier_disappears(pair, data, capsys):
    code, report = run(
        capsys,
        "model.pt",
        "reference.pt",
        "--data",
        str(data),
        "--noise",
        "0.1",
        "--prior-std",
        "1",
        "--samples",
        "8",
    )
    assert code == 0
    measured = valid(report)["data"]
    assert measured["likelihood"] == "gaussian"
    assert measured["has_prior"]
    assert measured["points"] == 40
    assert measured["before"]["barrier"] > 1.0
    assert measured["after"]["barrier"] < 1e-6
    assert measured["after"]["elbo_barrier"] < 1e-4
    assert measured["function_change"] < 1e-12
    assert measured["function_gap"] < 1e-9
    assert (
        len(measured["positions"])
        == len(measured["before"]["nll"])
        == len(measured["after"]["elbo"])
        == 11
    )


def test_the_path_has_its_elbo_under_a_mixture_prior(pair, data, capsys):
    given = ["--data", str(data), "--noise", "0.1", "--samples", "8"]
    elbos = []
    for prior in ("1,0.5,3", "0.5,0.5,3"):
        code, report = run(capsys, "model.pt", "reference.pt", *given, "--prior-mixture", prior)
        assert code == 0
        assert report["data"]["has_prior"]
        elbos.append(report["data"]["after"]["elbo"][0])
    # half of it a wider Gaussian: not the same prior
    assert abs(elbos[0] - elbos[1]) > 0.1


def test_without_a_prior_the_report_says_so(pair, data, capsys):
    _, report = run(capsys, "model.pt", "reference.pt", "--data", str(data), "--noise", "0.1")
    assert report["data"]["has_prior"] is False


def test_unrelated_models_are_different_and_strict_says_so_by_its_code(pair, capsys, tmp_path):
    torch.save(state(np.random.default_rng(9)), tmp_path / "other.pt")
    code, report = run(capsys, "other.pt", "reference.pt")
    assert (code, report["verdict"]) == (0, "different")
    code, _ = run(capsys, "other.pt", "reference.pt", "--strict")
    assert code == 1
    code, _ = run(capsys, "model.pt", "reference.pt", "--strict")
    assert code == 0


def test_universe_of_relabelled_copies_has_rhat_one(pair, capsys, tmp_path):
    generator = np.random.default_rng(3)
    torch.save(
        relabelled(pair[0], generator.permutation(WIDTH), np.ones(WIDTH)), tmp_path / "third.pt"
    )
    code, report = run(capsys, "model.pt", "reference.pt", "third.pt", "--universe")
    assert code == 0
    valid(report)
    assert report["before"]["rhat"] > 2
    assert report["after"]["rhat"] == pytest.approx(1.0, abs=1e-12)
    assert report["verdict"] == "same mode up to symmetry"
    assert [r["model"]["path"] for r in report["runs"]] == ["model.pt", "reference.pt", "third.pt"]


def test_the_section_of_analyze_is_part_of_the_full_report(pair, capsys):
    _, report = run(capsys, "model.pt", "reference.pt")
    reading = COMMON[:4]
    options = ["--reference", "reference.pt", "--samples", "4", "--format", "json"]
    assert main(["analyze", "model.pt", *reading, *options]) == 0
    section = json.loads(capsys.readouterr().out)["alignment"]
    for name in ("reference", "distance", "certificate", "before", "after", "groups", "verdict"):
        assert section[name] == report[name]


@pytest.mark.parametrize("format", ["text", "markdown", "html", "junit", "github", "console"])
def test_every_format_leads_with_the_verdict(pair, data, capsys, format):
    code = main(
        [
            "align",
            "model.pt",
            "reference.pt",
            "--data",
            str(data),
            *COMMON[:4],
            "--format",
            format,
            "-v",
        ]
    )
    printed = capsys.readouterr().out
    assert code == 0
    assert "same mode up to symmetry" in " ".join(printed.lower().split())


def test_universe_in_text(pair, capsys):
    assert (
        main(
            [
                "align",
                "model.pt",
                "reference.pt",
                "--universe",
                *COMMON[:4],
                "--format",
                "text",
                "-v",
            ]
        )
        == 0
    )
    assert "R-hat modulo symmetry 1.000" in " ".join(capsys.readouterr().out.split())


def test_reports_can_be_rendered_again(pair, data, capsys, tmp_path):
    main(["align", "model.pt", "reference.pt", "--data", str(data), *COMMON, "--report", "r.json"])
    direct = capsys.readouterr().out
    assert main(["report", "r.json", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(direct)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["model.pt"], "usage"),
        (["model.pt", "reference.pt", "model.pt"], "usage"),
        (["model.pt", "reference.pt", "--universe", "-o", "x.pt"], "usage"),
        (["model.pt", "reference.pt", "-o", "model.pt"], "usage"),
        (["model.pt", "reference.pt", "--cost", "nonesuch"], "usage"),
        (["model.pt", "nowhere.pt"], "not-found"),
        (["model.pt", "reference.pt", "-o", "there.pt"], "exists"),
        (["model.pt", "wider.pt"], "architectures-differ"),
    ],
)
def test_mistakes_have_codes_and_write_nothing(pair, capsys, tmp_path, arguments, error):
    (tmp_path / "there.pt").write_bytes(b"kept")
    wider = {
        name: torch.cat([t, t], dim=-1) if name.startswith("fc1.weight") else t
        for name, t in pair[0].items()
    }
    torch.save(wider, tmp_path / "wider.pt")
    before = sorted(p.name for p in tmp_path.iterdir())
    code, printed = run(capsys, *arguments)
    assert code == 2
    assert printed["error"]["code"] == error
    assert (tmp_path / "there.pt").read_bytes() == b"kept"
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_data_without_a_known_activation_is_refused(pair, data, capsys):
    code = main(["align", "model.pt", "reference.pt", "--data", str(data), *COMMON[2:]])
    assert code == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] in {
        "activation-unknown",
        "forward-undetermined",
    }
