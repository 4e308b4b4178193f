"""Training as processes: killed, interrupted, out of disk, two at once.

What must be a process is one; the runs it is compared with are made here, where torch is loaded.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from training_examples import wait_for

from symdiag import formats
from symdiag.cli.main import main

OPTIONS = shlex.split(
    "--activation relu --noise 0.3 --prior-std 1 --patience 0 --draws 4 --budget 0.2 --samples 32"
)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
LAUNCHER = shlex.split("-m torch.distributed.run --nproc-per-node 2 --master-port 0 --standalone")


def arguments(checkpoint, data, output, *more):
    given = ["retrain", str(checkpoint), "--data", str(data), "-o", str(output)]
    return [*given, *OPTIONS, *more]


def start(*given, launcher=()):
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "symdiag", *arguments(*given)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def run(capfd):
    """A whole run in this process, on one thread as the processes: its code, stdout and stderr."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def call(*given):
        code = main(arguments(*given))
        return code, *capfd.readouterr()

    yield call
    torch.set_num_threads(threads)


def tensors(path):
    posterior = formats.load(path)
    parts = (*posterior.loc.values(), *posterior.scale.values())
    return np.concatenate([v.ravel() for v in parts])


def test_kill_minus_nine_then_resume_is_bit_exact(run, checkpoint, data_files, tmp_path):
    metrics = tmp_path / "m.jsonl"
    more = shlex.split("--steps 100 --interval 10 --control-runs 1 --keep-worse --metrics")
    more = (*more, str(metrics))
    code, _, stderr = run(checkpoint, data_files[0], tmp_path / "whole.pt", *more)
    assert code in (0, 1), stderr
    expected = metrics.read_text(encoding="utf-8")
    broken = start(checkpoint, data_files[0], tmp_path / "out.pt", *more)
    wait_for(tmp_path / "out.pt.state", broken)
    broken.kill()
    broken.communicate()
    assert not (tmp_path / "out.pt").exists()
    code, _, stderr = run(checkpoint, data_files[0], tmp_path / "out.pt", *more, "--resume")
    assert code in (0, 1), stderr
    np.testing.assert_array_equal(tensors(tmp_path / "out.pt"), tensors(tmp_path / "whole.pt"))
    assert not (tmp_path / "out.pt.state").exists()
    lines = [
        [json.loads(x) for x in t.splitlines()] for t in (expected, metrics.read_text("utf-8"))
    ]
    kept = ("phase", "step", "objective", "gradient_norm")
    assert [[x[k] for k in kept] for x in lines[0]] == [[x[k] for k in kept] for x in lines[1]]


ENDLESS = shlex.split("--steps 100000 --interval 20 --no-control")


def interrupted(given, number):
    """A run stopped by a signal once its state is on disk."""
    process, state = start(*given), given[2].with_name(given[2].name + ".state")
    wait_for(state, process)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert state.stat().st_size > 0
    assert not given[2].exists()
    return state


def test_an_interrupt_leaves_a_state_and_exits_130(checkpoint, data_files, tmp_path):
    interrupted((checkpoint, data_files[0], tmp_path / "out.pt", *ENDLESS), signal.SIGINT)


@contextmanager
def files_no_larger_than(limit):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_sigterm_leaves_a_state_and_a_full_disk_leaves_that(run, checkpoint, data_files, tmp_path):
    given = (checkpoint, data_files[0], tmp_path / "out.pt", *ENDLESS)
    state = interrupted(given, signal.SIGTERM)
    kept, names = state.read_bytes(), sorted(p.name for p in tmp_path.iterdir())
    # no file may grow beyond this: writing the state fails half way through
    with files_no_larger_than(len(kept) // 2):
        code, _, stderr = run(*given, "--resume")
    assert code == 2, stderr
    assert "write-failed" in stderr
    assert state.read_bytes() == kept
    assert sorted(p.name for p in tmp_path.iterdir()) == names


def test_two_processes_agree_with_one(run, checkpoint, data_files, tmp_path):
    """Each has half of the draws; the weights are those of one process, to float32, and so is the report."""
    pytest.importorskip("torch.distributed")
    more = shlex.split("--steps 200 --no-control --format json --draws 16 --keep-worse -q")
    double = start(checkpoint, data_files[0], tmp_path / "two.pt", *more, launcher=LAUNCHER)
    code, stdout, stderr = run(checkpoint, data_files[0], tmp_path / "one.pt", *more)
    assert code in (0, 1), stderr
    other, stderr = double.communicate(timeout=240)
    assert double.returncode == code, stderr
    reports = [json.loads(text) for text in (stdout, other)]
    values = [r["retrained"]["symmetrized"] for r in reports]
    gain = values[0]["value"] - reports[0]["before"]["symmetrized"]["value"]
    assert gain > 30.0
    assert values[0]["value"] == pytest.approx(values[1]["value"], abs=1e-3)
    np.testing.assert_allclose(
        tensors(tmp_path / "two.pt"), tensors(tmp_path / "one.pt"), rtol=1e-5, atol=1e-6
    )
    assert (
        torch.load(tmp_path / "two.pt", weights_only=True).keys()
        == torch.load(checkpoint, weights_only=True).keys()
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_full_disk_for_metrics_is_an_error_of_its_own(run, checkpoint, data_files, tmp_path):
    out = tmp_path / "out.pt"
    code, _, stderr = run(checkpoint, data_files[0], out, "--steps", "20", "--metrics", "/dev/full")
    assert code == 2
    assert "write-failed" in stderr
    assert not out.exists()
