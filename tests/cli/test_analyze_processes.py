"""``symdiag analyze`` as two processes: one report, by the first, and the exit code of the verdict in both."""

import json
import shlex
from pathlib import Path

import pytest
import torch

from symdiag.cli.main import main

SAMPLES = Path(__file__).parents[2] / "sample_models"
OPTIONS = shlex.split(
    f"--activation relu --data {SAMPLES}/wave.npz --noise 0.3 --prior-std 1 --samples 130 "
    "--budget 0.3 --format json"
)


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def without_run(text):
    report = json.loads(text)
    assert report.pop("run")
    return report


def test_two_processes_make_the_report_of_one(start_all, end_of, capfd, tmp_path, one_thread):
    given = ["analyze", f"{SAMPLES}/wave-straddled.pt", *OPTIONS]
    page = tmp_path / "report.md"
    started = start_all(*given, "-o", str(page))
    code = main(given)
    expected = without_run(capfd.readouterr().out)
    codes, ((stdout, _), other) = end_of(started)
    assert code == 1  # it straddles
    assert codes == [1, 1]
    assert without_run(stdout) == expected
    assert expected["groups"][0]["straddling_entropy"]["samples"] == 130
    assert other == ("", "")
    assert "wave-straddled" in page.read_text("utf-8")


def test_what_one_process_cannot_read_fails_in_both_and_they_go_on(start_all, end_of):
    """The second process misses a file that the first has, as on another machine."""
    second = f"{SAMPLES}/wave-healthy.pt"
    started = start_all(
        *("analyze", f"{SAMPLES}/wave-straddled.pt", second, *OPTIONS),
        own={1: ("analyze", "missing.pt", second, *OPTIONS)},
    )
    codes, ((stdout, stderr), other) = end_of(started)
    failure, report, *rest = json.loads(stdout)["reports"]
    assert failure["error"]["code"] == "not-found"
    assert report["model"]["path"] == second
    assert rest == []
    assert "missing.pt" in stderr
    assert codes == [2, 2]
    assert other == ("", "")
