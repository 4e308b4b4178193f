"""Real processes: killed, interrupted, out of disk, two at once."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from symdiag import formats

OPTIONS = [
    "--activation",
    "relu",
    "--noise",
    "0.3",
    "--prior-std",
    "1",
    "--patience",
    "0",
    "--draws",
    "4",
    "--budget",
    "0.2",
]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(checkpoint, data, output, *more, launcher=()):
    base = launcher or (sys.executable, "-m", "symdiag")
    return [
        *base,
        "retrain",
        str(checkpoint),
        "--data",
        str(data),
        "-o",
        str(output),
        *OPTIONS,
        *more,
    ]


def run(*arguments, before=None, **options):
    return subprocess.run(
        command(*arguments, **options),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        preexec_fn=before,
    )


def start(*arguments):
    return subprocess.Popen(
        command(*arguments),
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def tensors(path):
    posterior = formats.load(path)
    return np.concatenate(
        [
            *(v.ravel() for v in posterior.loc.values()),
            *(v.ravel() for v in posterior.scale.values()),
        ]
    )


def test_kill_minus_nine_then_resume_is_bit_exact(checkpoint, data_files, tmp_path):
    more = [
        "--steps",
        "200",
        "--interval",
        "10",
        "--control-runs",
        "1",
        "--metrics",
        str(tmp_path / "m.jsonl"),
        "--keep-worse",
    ]
    whole = run(checkpoint, data_files[0], tmp_path / "whole.pt", *more)
    assert whole.returncode in (0, 1), whole.stderr
    expected = (tmp_path / "m.jsonl").read_text(encoding="utf-8")
    broken = start(checkpoint, data_files[0], tmp_path / "out.pt", *more)
    wait_for(tmp_path / "out.pt.state", broken)
    broken.kill()
    broken.communicate()
    assert not (tmp_path / "out.pt").exists()
    resumed = run(checkpoint, data_files[0], tmp_path / "out.pt", *more, "--resume")
    assert resumed.returncode in (0, 1), resumed.stderr
    np.testing.assert_array_equal(tensors(tmp_path / "out.pt"), tensors(tmp_path / "whole.pt"))
    assert not (tmp_path / "out.pt.state").exists()
    lines = [
        [json.loads(x) for x in t.splitlines()]
        for t in (expected, (tmp_path / "m.jsonl").read_text("utf-8"))
    ]
    kept = ("phase", "step", "objective", "gradient_norm")
    assert [[x[k] for k in kept] for x in lines[0]] == [[x[k] for k in kept] for x in lines[1]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_leave_a_state_and_exit_130(checkpoint, data_files, tmp_path, number):
    process = start(
        checkpoint, data_files[0], tmp_path / "out.pt", "--steps", "100000", "--interval", "20"
    )
    wait_for(tmp_path / "out.pt.state", process)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert (tmp_path / "out.pt.state").stat().st_size > 0
    assert not (tmp_path / "out.pt").exists()


def test_two_processes_agree_with_one(checkpoint, data_files, tmp_path):
    """Each has half of the points and of the draws; the result is that of one process within Monte Carlo error."""
    pytest.importorskip("torch.distributed")
    more = [
        "--steps",
        "300",
        "--no-control",
        "--format",
        "json",
        "--draws",
        "16",
        "--keep-worse",
        "-q",
    ]
    single = run(checkpoint, data_files[0], tmp_path / "one.pt", *more)
    launcher = (
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        "0",
    )
    launcher = (*launcher, "--standalone", "-m", "symdiag")
    double = run(checkpoint, data_files[0], tmp_path / "two.pt", *more, launcher=launcher)
    assert single.returncode in (0, 1), single.stderr
    assert double.returncode == single.returncode, double.stderr
    reports = [json.loads(p.stdout) for p in (single, double)]
    values = [r["retrained"]["symmetrized"] for r in reports]
    gain = values[0]["value"] - reports[0]["before"]["symmetrized"]["value"]
    assert gain > 30.0
    assert abs(values[0]["value"] - values[1]["value"]) < 1.5 + 3 * values[0]["std_error"]
    assert (
        torch.load(tmp_path / "two.pt", weights_only=True).keys()
        == torch.load(checkpoint, weights_only=True).keys()
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_full_disk_for_metrics_is_an_error_of_its_own(checkpoint, data_files, tmp_path):
    done = run(
        checkpoint, data_files[0], tmp_path / "out.pt", "--steps", "20", "--metrics", "/dev/full"
    )
    assert done.returncode == 2
    assert "write-failed" in done.stderr
    assert not (tmp_path / "out.pt").exists()


def test_full_disk_for_the_state_leaves_the_old_one(checkpoint, data_files, tmp_path):
    resource = pytest.importorskip("resource")
    options = (
        checkpoint,
        data_files[0],
        tmp_path / "out.pt",
        "--steps",
        "400",
        "--interval",
        "20",
        "--no-control",
    )
    process = start(*options)
    state = tmp_path / "out.pt.state"
    wait_for(state, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    kept, names = state.read_bytes(), sorted(p.name for p in tmp_path.iterdir())
    limit = len(kept) // 2  # no file may grow beyond this: writing the state fails half way through
    full = run(
        *options,
        "--resume",
        before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert full.returncode == 2, full.stderr
    assert "write-failed" in full.stderr
    assert state.read_bytes() == kept
    assert sorted(p.name for p in tmp_path.iterdir()) == names
