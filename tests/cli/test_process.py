"""The program as a process: real streams, real checkpoints, real start-up."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from symdiag.report.codec import SCHEMA_VERSION


def run(*arguments, stdout=subprocess.PIPE, env=None, timeout=120, code=None):
    command = [sys.executable, *(("-c", code) if code else ("-m", "symdiag")), *map(str, arguments)]
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("SYMDIAG_", "COV_", "COVERAGE"))
    }
    environment |= {"OMP_NUM_THREADS": "1", **(env or {})}
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, env=environment, timeout=timeout
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Two twin neurons (straddling) in a hand-written mu/std file."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(4, 3)), rng.normal(size=(2, 4))
    first[1], second[:, 1] = first[0], second[:, 0]
    path = tmp_path_factory.mktemp("models") / "twins.npz"
    arrays = {}
    for name, loc in (("fc1.weight", first), ("fc2.weight", second)):
        arrays[f"{name}_mu"], arrays[f"{name}_std"] = loc, np.full(loc.shape, 0.05)
    np.savez(path, **arrays)
    return path


LIGHT = """
import sys
from symdiag.cli.main import main
status = main(sys.argv[1:])
heavy = [name for name in ("torch", "scipy", "numba", "matplotlib", "pandas") if name in sys.modules]
sys.stderr.write(",".join(heavy))
sys.exit(status)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "--version",
        "--show-completion bash",
        "analyze --help",
        "compare --help",
        "inspect --help",
        "schema",
    ],
)
def test_light_commands_import_nothing_heavy(arguments):
    done = run(
        *arguments.split(), code=LIGHT, env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    )
    assert done.returncode == 0
    assert done.stdout
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("line", "offered"),
    [("ana", "analyze"), ("explain SYM001", "SYM001"), ("align --cost k", "kl")],
)
def test_shell_completion_imports_nothing_heavy(line, offered):
    env = {"_SYMDIAG_COMPLETE": "complete_bash", "COMP_WORDS": f"symdiag {line}"}
    done = run(code=LIGHT, env=env | {"COMP_CWORD": str(len(line.split()))})
    assert done.stdout.split() == [offered.encode()]
    assert done.stderr == b""


def test_inspect_of_npz_does_not_import_torch(checkpoint):
    done = run("inspect", checkpoint, code=LIGHT)
    assert done.returncode == 0
    assert b"torch" not in done.stderr


def test_version_is_one_line():
    done = run("--version")
    assert done.stdout.startswith(b"symdiag ")
    assert done.stdout.count(b"\n") == 1


@pytest.fixture(scope="module")
def outputs(checkpoint):
    """stdout of one analysis in two environments that have broken other tools."""
    environments = (
        {"FORCE_COLOR": "1"},
        {"NO_COLOR": "1", "TERM": "dumb", "PYTHONIOENCODING": "cp1252"},
    )
    arguments = ("analyze", checkpoint, "--format", "json", "--samples", 16, "--seed", 5)
    done = [run(*arguments, env=env) for env in environments]
    assert [d.returncode for d in done] == [0, 0]
    return [d.stdout for d in done]


@pytest.fixture(scope="module")
def saved(outputs, tmp_path_factory):
    path = tmp_path_factory.mktemp("reports") / "twins.json"
    path.write_bytes(outputs[0])
    return path


def test_a_real_analysis_is_json_and_right_in_every_environment(outputs):
    for output in outputs:
        data = json.loads(output)
        assert (data["schema_version"], data["verdict"]) == (SCHEMA_VERSION, "ok")
        # two interchangeable neurons out of four: log 2 nats
        assert abs(data["total"]["straddling_entropy"]["value"] - np.log(2)) < 0.05


def test_runs_with_one_seed_agree_byte_for_byte_outside_run(outputs):
    stripped = []
    for output in outputs:
        data = json.loads(output)
        data.pop("run")
        stripped.append(json.dumps(data))
    assert len(set(stripped)) == 1


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_a_closed_pipe_is_quiet_and_keeps_the_verdict(checkpoint):
    done = run_closed("analyze", checkpoint, "--samples", 16, "--max-straddling", 0.3)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
@pytest.mark.parametrize("arguments", ["--help", "analyze --help", "--version", "explain"])
def test_a_closed_pipe_is_quiet_for_help_too(arguments):
    done = run_closed(*arguments.split())
    assert (done.returncode, done.stderr) == (0, b"")


def run_closed(*arguments):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return run(*arguments, stdout=writer)
    finally:
        os.close(writer)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
@pytest.mark.parametrize("format", ["text", "json"])
def test_a_full_disk_is_code_2(saved, format):
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = run("report", saved, "--format", format, stdout=full)
    assert done.returncode == 2
    assert done.stderr.startswith(b"error[write-failed]: ")
    assert done.stderr.count(b"\n") == 1


def test_a_missing_stdout_does_not_crash():
    done = run("schema", code="import os,sys;os.close(1);sys.stdout=None\n" + LIGHT)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("format", ["text", "console", "markdown"])
def test_an_ascii_locale_shows_everything(saved, format):
    done = run("report", saved, "--format", format, env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "twins" in done.stdout.decode("ascii")


def test_rendering_a_report_imports_nothing_heavy(saved):
    done = run("report", saved, "--format", "markdown", code=LIGHT)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_installed_command_is_this_program():
    done = run(
        code="import importlib.metadata as m;print(m.entry_points(group='console_scripts')['symdiag'].value)"
    )
    assert done.stdout.strip() == b"symdiag.cli.main:main"
