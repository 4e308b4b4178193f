"""The files that CI systems read: the action's script runs, its inputs are no commands, templates name options that exist."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from symdiag.cli.main import build_app
from symdiag.errors import UnreadableError
from symdiag.report.reading import Failure
from symdiag.report.rendering import render_all

ROOT = Path(__file__).resolve().parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
COMMANDS = typer.main.get_command(build_app()).commands
MODELS = ROOT / "sample_models"


def parses(words):
    """Whether the command line takes a command as it stands."""
    assert words[0] == "symdiag"
    with COMMANDS[words[1]].make_context(words[1], list(words[2:])):
        return True


@pytest.fixture
def step(tmp_path):
    """Runs the action's script as a runner would; returns exit code, annotations, outputs, summary."""
    program = tmp_path / "bin" / "symdiag"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m symdiag "$@"\n', "utf-8")
    program.chmod(0o755)
    (tmp_path / "bin" / "python").symlink_to(sys.executable)

    def run(real=True, **inputs):
        if not real:  # what the program would do is not the question
            program.write_text("#!/bin/sh\nexit 2\n", "utf-8")
        files = {name: tmp_path / name.lower() for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        environment = {
            "PATH": f"{program.parent}:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            **{name: str(path) for name, path in files.items()},
            **{f"INPUT_{name.upper()}": value for name, value in inputs.items()},
        }
        done = subprocess.run(
            ["bash", str(ROOT / ".ci/action/analyze.sh")],
            cwd=tmp_path, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        read = {
            name: path.read_text("utf-8") if path.exists() else "" for name, path in files.items()
        }
        outputs = dict(line.split("=", 1) for line in read["GITHUB_OUTPUT"].splitlines())
        return done, outputs, read["GITHUB_STEP_SUMMARY"]

    return run


@pytest.mark.skipif(not shutil.which("bash"), reason="composite actions run in bash")
def test_the_action_annotates_summarises_and_gives_outputs(step, tmp_path):
    (tmp_path / "runs").mkdir()
    for name in ("straddled", "healthy"):
        shutil.copy(MODELS / f"wave-{name}.pt", tmp_path / "runs" / f"{name} 1.pt")
    done, outputs, summary = step(
        checkpoints="runs/*.pt", options="--activation relu\n--samples 4", output="out"
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("::error file=runs/straddled 1.pt")
    reports = json.loads((tmp_path / "out/report.json").read_text("utf-8"))["reports"]
    largest = max(r["total"]["straddling_entropy"]["value"] for r in reports)
    assert outputs["verdict"] == "straddling"
    assert float(outputs["straddling"]) == pytest.approx(largest, abs=1e-4)
    assert outputs["exit-code"] == "1"
    assert (tmp_path / outputs["report"]).is_file()
    assert summary.startswith("```mermaid\nxychart-beta\n")
    assert "straddled_1_fc1" in summary
    assert "## symdiag: `runs/straddled 1.pt`" in summary
    kept = {path.name for path in (tmp_path / "out").iterdir()}
    assert kept == {"report.json", "report.html", "report.md", "junit.xml", "figures.svg"}


@pytest.mark.skipif(not shutil.which("bash"), reason="composite actions run in bash")
@pytest.mark.parametrize(
    "inputs",
    [
        {"checkpoints": "nowhere/*.pt"},
        {"checkpoints": "$(touch${IFS}owned)"},
        {"checkpoints": "a.pt;touch owned", "options": "`touch owned`"},
    ],
    ids=["none", "substitution", "semicolon"],
)
def test_inputs_are_words_and_patterns_never_commands(step, tmp_path, inputs):
    done, outputs, _ = step(real=False, **inputs)
    assert done.returncode == 2
    assert outputs["verdict"] == "error"
    assert outputs["exit-code"] == "2"
    assert not (tmp_path / "owned").exists()


def test_the_action_declares_what_its_script_reads_and_writes():
    script = (ROOT / ".ci/action/analyze.sh").read_text("utf-8")
    steps = ACTION["runs"]["steps"]
    (analyze,) = [s for s in steps if s.get("id") == "analyze"]
    assert set(re.findall(r"INPUT_\w+", script)) == set(analyze["env"])
    for output in ACTION["outputs"].values():
        assert re.fullmatch(r"\$\{\{ steps\.analyze\.outputs\.[a-z-]+ \}\}", output["value"])
    # an expression inside a script would be pasted into it as text
    assert all("${{" not in s.get("run", "") for s in steps)
    used = set(re.findall(r"inputs\.([a-z-]+)", (ROOT / "action.yml").read_text("utf-8")))
    assert used == set(ACTION["inputs"])


def test_the_hook_and_the_template_call_commands_that_exist():
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    assert parses([*shlex.split(hook["entry"]), "--activation", "relu", "a.pt", "b.npz"])
    assert re.search(hook["files"], "runs/a.pt")
    assert not re.search(hook["files"], "runs/a.py")
    template = yaml.safe_load((ROOT / ".ci/gitlab.yml").read_text("utf-8"))[".symdiag"]
    (command,) = template["script"]
    line = command.replace("$OPTIONS", "--activation relu").replace("$CHECKPOINTS", "a.pt b.pt")
    assert parses(shlex.split(line))
    written = re.findall(r"-o (?:\w+=)?(\S+)", command)
    kept = [*template["artifacts"]["paths"], template["artifacts"]["reports"]["junit"]]
    assert sorted(written) == sorted(kept)


# ---------------------------------------------------------------- jq

RECIPES = re.findall(r"^\$ (jq .*)$", (ROOT / "docs/ci.md").read_text("utf-8"), re.M)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """``report.json`` of one file, ``reports.json`` of two and a failure."""
    folder = tmp_path_factory.mktemp("reports")
    import symdiag

    found = [
        symdiag.analyze(MODELS / f"wave-{name}.pt", activation="relu", samples=4)
        for name in ("straddled", "healthy")
    ]
    failed = Failure("bad.pt", UnreadableError("it is empty"))
    (folder / "report.json").write_text(render_all(found[:1], "json"), "utf-8")
    (folder / "reports.json").write_text(render_all([*found, failed], "json"), "utf-8")
    return folder, found


def says(recipe, folder):
    done = subprocess.run(shlex.split(recipe), cwd=folder, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout.rstrip("\n"), done.returncode


@pytest.mark.skipif(not shutil.which("jq"), reason="jq is not on this machine")
def test_each_recipe_answers_what_the_report_says(stored):
    folder, (report, healthy) = stored
    entropy = report.total.straddling_entropy
    (group,) = report.groups
    answers = [says(recipe, folder) for recipe in RECIPES]
    texts = [text for text, _ in answers]
    assert texts[0] == "straddling"
    assert json.loads(texts[1]) == {
        "value": entropy.value, "lower": entropy.lower, "upper": entropy.upper
    }  # fmt: skip
    assert texts[2].split("\t")[:2] == ["fc1", "20"]
    assert texts[3].startswith("SYM001 ")
    assert texts[4] == str(sum(n.collapsed for n in group.neurons))
    assert answers[5] == ("false", 1)
    assert texts[6].splitlines()[0].startswith('"fc1",0,')
    assert texts[7] == str(MODELS / "wave-straddled.pt")
    assert texts[8] == "bad.pt: unreadable"
    assert json.loads(texts[9]) == max(entropy.value, healthy.total.straddling_entropy.value)
    assert len(answers) == 10
    assert os.sep in texts[7]
