"""Every command that a report prints runs as printed, with real files in the place of its placeholders."""

import ast
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer

from symdiag.cli.main import build_app, main
from symdiag.report.document import Command, command_lines, step

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "sample_models"
COMMANDS = typer.main.get_command(build_app()).commands
# What a test fills in; every other word stands as it is printed.
FILLED = {
    "ACTIVATION": "relu",
    "PRIOR_STD": "1",
    "MODULE:FACTORY": "twin:build",
    "TRAIN.npz": "TRAIN.npz",
    "BEFORE.json": "BEFORE.json",
    "AFTER.pt": "AFTER.pt",
}
TWIN = """
from collections import OrderedDict

import torch


def build():
    layers = OrderedDict(
        fc1=torch.nn.Linear(1, 20), act=torch.nn.ReLU(), fc2=torch.nn.Linear(20, 1)
    )
    return torch.nn.Sequential(layers)
"""


def capital_words(command):
    return set(re.findall(r"\b[A-Z][A-Z_]+(?:[.:][A-Za-z]+)?\b", command))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with what the placeholders stand for, and settings that make training short."""
    shutil.copy(SAMPLES / "wave.npz", tmp_path / "TRAIN.npz")
    shutil.copy(SAMPLES / "wave-healthy.pt", tmp_path / "AFTER.pt")
    settings = "[retrain]\nsteps = 2\ncontrol_runs = 0\nsamples = 4\n"
    (tmp_path / "symdiag.toml").write_text(settings)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(text):
    """Commands of a text report as a shell would read them: lines joined at backslashes."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.strip().startswith("symdiag "):
            while line.endswith("\\"):
                line = line[:-1] + next(lines)
            yield line.strip()


def reported(capsys, arguments):
    """The commands that ``arguments`` print in text, and those in the JSON report's hints."""
    assert main([*arguments, "--format", "json", "--exit-zero"]) == 0
    text = capsys.readouterr().out
    Path("BEFORE.json").write_text(text)
    hints = [step(finding["hint"]) for finding in json.loads(text)["findings"]]
    assert main(["report", "BEFORE.json", "--format", "text"]) in (0, 1)
    shown = set(printed(capsys.readouterr().out))
    return shown, {hint.text for hint in hints if isinstance(hint, Command)}


def run(command, capsys):
    for placeholder, value in FILLED.items():
        command = command.replace(placeholder, value)
    for written in ("fixed.pt", "small.pt"):
        Path(written).unlink(missing_ok=True)
    code = main(shlex.split(command)[1:])
    captured = capsys.readouterr()
    assert code in (0, 1), (command, captured.err)
    assert "error[" not in captured.err


CASES = [
    (["wave-straddled.pt", "--activation", "relu", "--samples", "40"], "retrain"),
    (["wave-straddled.pt", "--samples", "40"], "retrain"),
    (["wave-healthy.pt", "--activation", "relu", "--samples", "40"], "compare"),
    (["wave-straddled.pt", "--activation", "relu", "--samples", "4", "--max-straddling", "27.3"],
     "analyze"),
    (["wave-straddled.pt", "--activation", "relu", "--data", "wave.npz", "--noise", "0.3",
      "--prior-std", "1", "--test", "wave-test.npz", "--samples", "40"], "retrain"),
    (["wave-straddled.pt", "--activation", "relu", "--data", "wave.npz", "--noise", "0.3",
      "--prior-mixture", "0.5,1,0.1", "--samples", "40"], "retrain"),
    (["wave-straddled.pt", "--model", "twin:build", "--scale-transform", "softplus",
      "--samples", "40"], "retrain"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "wanted"), CASES)
def test_what_a_report_suggests_runs(folder, capsys, monkeypatch, arguments, wanted):
    """A folder with a space and a quotation mark in its name, as people have them."""
    files = folder / "my 'best' models"
    shutil.copytree(SAMPLES, files, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (folder / "twin.py").write_text(TWIN)
    monkeypatch.syspath_prepend(str(folder))
    given = [str(files / a) if (files / a).is_file() else a for a in arguments]
    shown, hinted = reported(capsys, ["analyze", *given])
    assert {tuple(shlex.split(c)) for c in hinted} <= {tuple(shlex.split(c)) for c in shown}
    assert any(f"symdiag {wanted} " in command for command in shown)
    for command in shown:
        assert capital_words(command) <= FILLED.keys(), command
        for option in ("--activation", "--model", "--scale-transform"):
            if option in arguments and "explain" not in command and "compare" not in command:
                assert f"{option} {arguments[arguments.index(option) + 1]}" in " ".join(
                    command.split()
                )
        trains = any(f"symdiag {name} " in command for name in ("retrain", "prune"))
        if "--data" in arguments and trains:
            assert {"--data", "--noise"} <= set(shlex.split(command)), command
        if "--prior-mixture" in arguments and trains:
            assert "--prior-mixture 0.5,1,0.1" in " ".join(command.split())
        run(command, capsys)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_a_broken_command_is_the_same_command_to_a_shell(width):
    command = "symdiag retrain 'my model.pt' --activation relu --data TRAIN.npz -o 'a b.pt'"
    lines = command_lines(command, width)
    joined = "\n".join(lines).replace("\\\n", "")
    assert shlex.split(joined) == shlex.split(command)
    assert all(line.endswith(" \\") for line in lines[:-1])
    assert all(len(line) <= max(width, 35) for line in lines)


@pytest.mark.parametrize(
    "hint", ["symdiag retrain 'x --data y", "look closely", "a: symdiag\nanalyze x", ""]
)
def test_what_is_no_command_stays_prose(hint):
    assert not isinstance(step(hint), Command)


def mentioned():
    """Commands with options in messages, hints and explanations of the source, not in its comments."""
    for path in sorted((ROOT / "symdiag").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for name, rest in re.findall(r"\bsymdiag ([a-z]+)\b([^`;.\n]*)", node.value):
                    if name in COMMANDS:
                        yield path.name, name, re.findall(r"(?<![\w-])--[a-z][\w-]*", rest)


def test_commands_named_in_the_source_have_the_options_named_with_them():
    found = list(mentioned())
    assert len(found) > 20
    for file, name, options in found:
        known = {o for p in COMMANDS[name].params for o in (*p.opts, *p.secondary_opts)}
        assert set(options) <= known | {"--help"}, (file, name, options)


def test_the_commands_shown_for_a_report_that_names_no_options(folder, capsys):
    """A report written before options were recorded still gets a command that parses."""
    shutil.copy(SAMPLES / "wave-healthy.pt", folder / "old.pt")
    assert main(["analyze", "old.pt", "--activation", "relu", "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    del data["model"]["read_with"]
    data["verdict"], data["findings"] = "inconclusive", []
    (folder / "old.json").write_text(json.dumps(data))
    assert main(["report", "old.json", "--format", "text"]) == 0
    commands = list(printed(capsys.readouterr().out))
    assert len(commands) == 1
    name, *arguments = shlex.split(commands[0])[1:]
    with COMMANDS[name].make_context(name, arguments):
        pass
