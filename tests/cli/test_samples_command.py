"""``symdiag samples`` on real files: what it prints, writes and exits with."""

from __future__ import annotations

import json
from importlib.resources import files

import jsonschema
import numpy as np
import pytest

from symdiag.cli.main import main

SHAPES = {"fc1.weight": (4, 2), "fc1.bias": (4,), "fc2.weight": (1, 4), "fc2.bias": (1,)}


@pytest.fixture
def draws(tmp_path):
    """40 draws of one mode in plain.npz, and with half of them relabelled in switched.npz."""
    generator = np.random.default_rng(0)
    plain = {
        n: generator.standard_normal(s) + 0.05 * generator.standard_normal((40, *s))
        for n, s in SHAPES.items()
    }
    order = generator.permutation(4)
    while (order == np.arange(4)).any():
        order = generator.permutation(4)
    switched = {name: values.copy() for name, values in plain.items()}
    half = slice(0, 18)
    switched["fc1.weight"][half] = plain["fc1.weight"][half][:, order]
    switched["fc1.bias"][half] = plain["fc1.bias"][half][:, order]
    switched["fc2.weight"][half] = plain["fc2.weight"][half][:, :, order]
    np.savez(tmp_path / "plain.npz", **plain)
    np.savez(tmp_path / "switched.npz", **switched)
    np.savez(
        tmp_path / "chains.npz", **{n: v.reshape(2, 20, *v.shape[1:]) for n, v in switched.items()}
    )
    return plain, switched


COMMON = ["--activation", "relu", "--samples", "8"]


def run(capsys, *arguments):
    code = main(["samples", *arguments, *COMMON, "--format", "json"])
    return code, json.loads(capsys.readouterr().out)


def valid(report):
    schema = json.loads((files("symdiag.report") / "schema" / "samples-1.json").read_text("utf-8"))
    jsonschema.validate(report, closed(schema))
    return report


def closed(node):
    """The schema with every object closed, so that an undocumented field is an error."""
    if isinstance(node, list):
        return [closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    shut = {key: closed(value) for key, value in node.items()}
    return {**shut, "additionalProperties": False} if "properties" in node else shut


def test_switching_is_a_finding_and_is_undone(draws, capsys, tmp_path):
    code, report = run(capsys, "switched.npz", "-o", "aligned.npz")
    assert code == 1
    valid(report)
    assert report["verdict"] == "label switching"
    assert report["off"] == pytest.approx(18 / 40)
    assert report["labellings"] == 2
    assert all(unit["moved"] == pytest.approx(18 / 40) for unit in report["groups"][0]["units"])
    with np.load(tmp_path / "aligned.npz") as written:
        for name, values in draws[0].items():
            np.testing.assert_array_equal(written[name], values)
    assert run(capsys, "switched.npz", "--exit-zero")[0] == 0
    assert run(capsys, "switched.npz", "--max-switching", "0.5")[0] == 0


def test_one_mode_exits_zero(draws, capsys):
    code, report = run(capsys, "plain.npz")
    assert (code, report["verdict"], report["off"]) == (0, "one labelling", 0.0)
    assert valid(report)["relabelling_share"] == 0.0


def test_chains_add_rhat(draws, capsys, tmp_path):
    code, report = run(capsys, "chains.npz", "--chains", "-o", "aligned.npz")
    assert code == 1
    assert valid(report)["input"]["chains"] == 2
    assert report["rhat_before"]["worst"] > 2 > report["rhat_after"]["worst"]
    with np.load(tmp_path / "aligned.npz") as written:
        assert written["fc1.weight"].shape == (2, 20, 4, 2)


@pytest.mark.parametrize("format", ["text", "markdown", "html", "junit", "github", "console"])
def test_every_format_leads_with_the_verdict(draws, capsys, format):
    code = main(["samples", "chains.npz", "--chains", *COMMON, "--format", format, "-v"])
    assert code == 1
    assert "label switching: 45.0 % of 40 draws" in " ".join(
        capsys.readouterr().out.replace("%25", "%").lower().split()
    )


def test_a_network_without_hidden_units(capsys, tmp_path):
    np.savez(
        tmp_path / "a.npz", **{"fc.weight": np.random.default_rng(0).standard_normal((30, 2, 3))}
    )
    code, report = run(capsys, "a.npz")
    assert (code, valid(report)["verdict"]) == (0, "not-applicable")
    assert main(["samples", "a.npz", "--format", "text"]) == 0
    assert "NOT APPLICABLE" in capsys.readouterr().out


def test_reports_can_be_rendered_again_and_repeat(draws, capsys):
    _, direct = run(capsys, "chains.npz", "--chains", "--report", "r.json")
    assert main(["report", "r.json", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == direct
    _, again = run(capsys, "chains.npz", "--chains")
    assert {**again, "run": 0} == {**direct, "run": 0}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["nowhere.npz"], "not-found"),
        (["one.npz"], "not-samples"),
        (["uneven.npz"], "shape-mismatch"),
        (["uneven-chains.npz", "--chains"], "shape-mismatch"),
        (["member.npz", "other.npz"], "shape-mismatch"),
        (["broken.npz"], "non-finite"),
        (["plain.npz", "--spec", "wrong.toml"], "bad-spec"),
        (["plain.npz", "-o", "plain.npz"], "would-overwrite"),
        (["plain.npz", "-o", "there.npz"], "exists"),
        (["plain.npz", "--starts", "0"], "usage"),
        (["plain.npz", "--max-switching", "2"], "usage"),
        (["plain.npz", "--activation", "nonesuch"], "unknown-activation"),
        ([], "usage"),
    ],
)
def test_mistakes_have_codes_and_write_nothing(draws, capsys, tmp_path, arguments, error):
    plain, _ = draws
    (tmp_path / "there.npz").write_bytes(b"kept")
    (tmp_path / "wrong.toml").write_text('[[group]]\nname = "h"\nwidth = 3\n')
    np.savez(tmp_path / "one.npz", **{n: v[:1] for n, v in plain.items()})
    np.savez(tmp_path / "uneven.npz", **{**plain, "fc1.bias": plain["fc1.bias"][:7]})
    chained = {n: v.reshape(2, 20, *v.shape[1:]) for n, v in plain.items()}
    np.savez(
        tmp_path / "uneven-chains.npz",
        **{**chained, "fc1.bias": plain["fc1.bias"].reshape(4, 10, 4)},
    )
    np.savez(tmp_path / "member.npz", **{n: v[0] for n, v in plain.items()})
    np.savez(tmp_path / "other.npz", **{n: v[0] for n, v in plain.items() if n != "fc1.bias"})
    np.savez(tmp_path / "broken.npz", **{**plain, "fc1.bias": plain["fc1.bias"] * np.nan})
    before = sorted(p.name for p in tmp_path.iterdir())
    code = main(["samples", *COMMON, *arguments, "--format", "json"])
    assert code == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == error
    assert (tmp_path / "there.npz").read_bytes() == b"kept"
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_help_holds_an_example_that_parses(capsys):
    import typer

    from symdiag.cli.main import build_app

    assert main(["samples", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    example = text.rpartition("Example: symdiag samples ")[2]
    command = typer.main.get_command(build_app()).commands["samples"]
    with command.make_context("samples", example.split()) as context:
        assert context.params["activation"] == "tanh"
