"""At the terminal, every bad file of docs/security.md ends in exit 2 with its code as JSON on stdout."""

import json
from pathlib import Path

import pytest
from hostile_files import FAULTS, Fault

from symdiag.cli.main import main


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.label)
def test_analyze_refuses(fault: Fault, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    canary = tmp_path / "canary"
    path = tmp_path / f"model{fault.suffix}"
    path.write_bytes(fault.content(canary))
    assert main(["analyze", str(path), "--format", "json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == fault.code
    assert error["hint"]
    assert "\n" not in error["message"]
    assert not canary.exists()


def test_one_line_at_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "model\n\x1b[31m::error::.pt"
    path.write_bytes(b"")
    assert main(["analyze", str(path), "--format", "console"]) == 2
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err
    assert not [line for line in captured.err.splitlines() if line.startswith("::error")]


def test_pickled_sequential_needs_no_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The whole chain from the pickle to the report: layers, order and activation are in the file."""
    zoo = Path(__file__).parents[1] / "data" / "zoo" / "nasty-whole-module.pt"
    assert main(["analyze", str(zoo), "--samples", "8", "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["network"]["source"] == "pickled-module"
    assert report["model"]["activation"] == "tanh"
    assert [(group["width"], group["signed"]) for group in report["groups"]] == [(16, True)]
