"""What every outcome exits with and which stream says so, with the analysis itself replaced."""

import errno
import json
import re
import sys

import pytest
from report_examples import finding, report

from symdiag.cli.main import main
from symdiag.errors import OutputError, UnreadableError
from symdiag.report import render
from symdiag.tasks.options import (
    DataOptions,
    DiagnosisOptions,
    EstimationOptions,
    ReadingOptions,
)


@pytest.fixture
def outcomes(monkeypatch):
    """File name → report or exception; the calls that were made."""
    made, calls = {}, []

    def analyze(path, **options):
        calls.append((path, options))
        outcome = made[path.name]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr("symdiag.tasks.analyze.analysis", analyze)
    made.update(
        ok=report("ok", findings=()),
        bad=report("straddling"),
        unsure=report("inconclusive"),
        trivial=report("not-applicable", findings=()),
        broken=report("ok", findings=(finding(severity="error"),)),
        noted=report("ok", findings=(finding(severity="warning"),)),
        torn=UnreadableError("torn.pt is torn", code="truncated", hint="fetch it again"),
        bug=RuntimeError("boom"),
        stopped=KeyboardInterrupt(),
        memory=MemoryError(),
        missing=FileNotFoundError(errno.ENOENT, "No such file or directory", "gone.pt"),
    )
    made["calls"] = calls
    return made


TABLE = [
    ("ok", 0),
    ("bad", 1),
    ("bad --exit-zero", 0),
    ("unsure", 0),
    ("unsure --strict", 1),
    ("unsure --strict --exit-zero", 0),
    ("trivial", 0),
    ("trivial --strict", 0),
    ("broken", 1),
    ("noted", 0),
    ("ok bad", 1),
    ("ok unsure trivial", 0),
    ("torn", 2),
    ("torn --exit-zero", 2),
    ("ok torn", 2),
    ("bad torn", 2),
    ("bug", 2),
    ("ok bug", 2),
    ("memory", 2),
    ("missing", 2),
    ("stopped", 130),
    ("ok stopped", 130),
    ("ok --samples 0", 2),
    ("ok --seed -1", 2),
    ("ok --max-straddling -0.5", 2),
    ("ok --sedd 1", 2),
    ("ok --format pdf", 2),
    ("ok --color blue", 2),
    ("ok -o report.docx", 2),
    ("ok -o missing/report.json", 2),
    ("", 2),
]


@pytest.mark.parametrize(("arguments", "code"), TABLE)
def test_exit_codes(outcomes, arguments, code, capsys):
    assert main(["analyze", *arguments.split()]) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    if code == 2:
        assert len(captured.err.splitlines()) == 1
        assert captured.err.startswith("error[")


@pytest.mark.parametrize(("arguments", "code"), TABLE)
def test_stdout_is_one_json_object_in_json_mode(outcomes, arguments, code, capsys):
    if "--format" in arguments:
        arguments = arguments.replace("--format pdf", "--device")  # an option that lacks its value
    assert main(["analyze", "--format", "json", *arguments.split()]) == code
    data = json.loads(capsys.readouterr().out)
    assert data["schema_version"] == 1
    if code in (2, 130) and "reports" not in data:
        assert set(data) == {"schema_version", "error"}
        assert set(data["error"]) == {"code", "message", "hint"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("torn", "truncated"),
        ("bug", "internal-error"),
        ("memory", "out-of-memory"),
        ("missing", "unreadable"),
        ("stopped", "interrupted"),
        ("ok --sedd 1", "usage"),
        ("ok -o report.docx", "usage"),
        ("ok -o missing/report.json", "write-failed"),
    ],
)
def test_error_codes(outcomes, arguments, code, capsys):
    main(["analyze", "--format=json", *arguments.split()])
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"]["code"] == code
    assert captured.err.startswith(f"error[{code}]: ")


def test_one_bad_file_does_not_silence_the_others(outcomes, capsys):
    assert main(["analyze", "bad", "torn", "ok", "--format", "json"]) == 2
    captured = capsys.readouterr()
    reports = json.loads(captured.out)["reports"]
    assert [r.get("verdict") or r["error"]["code"] for r in reports] == [
        "straddling",
        "truncated",
        "ok",
    ]
    assert captured.err.startswith("error[truncated]: torn.pt is torn. Hint: fetch it again")


def test_usage_errors_name_the_range_and_the_command(outcomes, capsys):
    main(["analyze", "ok", "--samples", "0"])
    line = capsys.readouterr().err
    assert re.search(r"--samples.*(greater than or equal to 1|x>=1)", line)
    assert "symdiag analyze --help" in line


def test_a_bug_is_one_line_unless_debugging(outcomes, capsys):
    assert main(["analyze", "bug"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    for flag in ("--debug", "-vv"):
        assert main(["analyze", "bug", flag]) == 2
        captured = capsys.readouterr()
        assert "Traceback" in captured.err
        assert captured.out == ""


def test_hostile_messages_stay_on_one_line(outcomes, capsys):
    outcomes["torn"] = UnreadableError("a\n::error::b\x1b[31m\u202e", hint="c\rd")
    assert main(["analyze", "torn"]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert not set(line) & {"\r", "\x1b", "\u202e"}


def test_options_reach_the_analysis(outcomes):
    options = (
        "--seed 3 --samples 9 --activation tanh --max-straddling 2.5 --precision .2 --budget 7"
    )
    assert main(["analyze", "ok", *options.split()]) == 0
    ((path, options),) = outcomes["calls"]
    assert path.name == "ok"
    assert options["estimation"] == EstimationOptions(
        seed=3, samples=9, precision=0.2, budget=7.0, device="cpu"
    )
    assert options["reading"] == ReadingOptions(activation="tanh")
    assert options["diagnosis"] == DiagnosisOptions(max_straddling=2.5)
    assert options["given"] == DataOptions()


# ---------------------------------------------------------------- output files


def test_every_output_is_written_beside_stdout(outcomes, tmp_path, capsys):
    assert (
        main(
            [
                "analyze",
                "bad",
                "-o",
                "r.json",
                "-o",
                "r.md",
                "-o",
                "junit=r.out",
                "--format",
                "json",
            ]
        )
        == 1
    )
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "r.json").read_text())
    assert (tmp_path / "r.md").read_text("utf-8").startswith("## symdiag")
    assert (tmp_path / "r.out").read_text("utf-8").startswith("<?xml")


def test_an_output_never_replaces_an_input_or_another_output(outcomes, tmp_path, capsys):
    (tmp_path / "ok").write_text("precious")
    for arguments in ("analyze ok -o json=ok", "analyze ok -o r.json -o json=./r.json"):
        assert main(arguments.split()) == 2
        assert "error[usage]" in capsys.readouterr().err
    assert (tmp_path / "ok").read_text() == "precious"
    assert outcomes["calls"] == []


def test_files_are_never_coloured(outcomes, tmp_path):
    main(["analyze", "bad", "--color", "always", "-o", "console=r.out"])
    assert "\x1b" not in (tmp_path / "r.out").read_text("utf-8")


def test_a_failing_write_is_code_2_and_leaves_the_old_file(outcomes, tmp_path, monkeypatch, capsys):
    target = tmp_path / "r.json"
    target.write_text("old")

    def full(*_, **__):
        raise OutputError("no space left")

    monkeypatch.setattr("symdiag.formats.atomic.atomic_write", full)
    assert main(["analyze", "ok", "-o", "r.json"]) == 2
    assert target.read_text() == "old"
    assert "error[write-failed]" in capsys.readouterr().err


# ---------------------------------------------------------------- format and colour


def test_text_when_piped_console_when_forced(outcomes, monkeypatch, capsys):
    main(["analyze", "bad"])
    assert capsys.readouterr().out == render(outcomes["bad"], "text")
    monkeypatch.setenv("FORCE_COLOR", "1")
    main(["analyze", "bad"])
    assert "\x1b[" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    main(["analyze", "bad"])
    assert "\x1b" not in capsys.readouterr().out
    main(["analyze", "bad", "--color", "always"])
    assert "\x1b[" in capsys.readouterr().out
    main(["analyze", "bad", "--color", "never"])
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "environment", [{"FORCE_COLOR": "1"}, {"NO_COLOR": "1"}, {"CLICOLOR_FORCE": "1"}]
)
def test_no_environment_corrupts_json(outcomes, environment, monkeypatch, capsys):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    main(["analyze", "bad", "--format", "json"])
    assert json.loads(capsys.readouterr().out)["verdict"] == "straddling"


class Terminal:
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def __init__(self, encoding="utf-8"):
        self.encoding, self.written = encoding, ""

    def isatty(self):
        return True

    def write(self, text):
        text.encode(self.encoding)
        self.written += text
        return len(text)

    def flush(self):
        pass


def test_console_on_a_terminal(outcomes, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["analyze", "bad"]) == 1
    assert "\x1b[" in terminal.written
    assert "H(g|ω)" in terminal.written


def test_a_cp1252_terminal_gets_ascii(outcomes, monkeypatch):
    terminal = Terminal("cp1252")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["analyze", "bad"]) == 1
    assert "H(g|w)" in terminal.written
    terminal.written.encode("ascii")


@pytest.mark.parametrize("name", ["console", "markdown", "junit", "github", "html", "json"])
def test_every_format_fits_through_cp1252(outcomes, name, monkeypatch):
    terminal = Terminal("cp1252")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["analyze", "bad", "--format", name]) == 1
    assert terminal.written


def test_progress_only_when_both_streams_are_terminals(outcomes, monkeypatch):
    def progress(arguments):
        main(["analyze", "ok", *arguments])
        return outcomes["calls"].pop()[1]["progress"]

    monkeypatch.setenv("FORCE_COLOR", "1")
    assert progress([]) is None
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert progress([]) is None
    monkeypatch.setattr(sys, "stdout", Terminal())
    bar = progress([])
    assert bar is not None
    assert progress(["-q"]) is None


def test_quiet_keeps_the_verdict(outcomes, capsys):
    assert main(["analyze", "bad", "-q"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 4
    assert "STRADDLING" in lines[1]
