"""What holds for every test, and processes as torchrun would start them."""

import os
import socket
import subprocess
import sys

import pytest

from symdiag.estimators import values


@pytest.fixture(autouse=True)
def contradictions_raise(monkeypatch):
    """An upper end below a value by more than its error is an internal error here, chance or not."""
    monkeypatch.setattr(values, "strict", True)


@pytest.fixture
def start_all():
    """Starts a command as several processes at once, by the variables that torchrun sets."""
    started = []

    def start(*given, world=2, own=None):
        """``own``: rank → arguments that this process has instead."""
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = str(found.getsockname()[1])
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "symdiag", *(own or {}).get(rank, given)],
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": "1",
                    "WORLD_SIZE": str(world),
                    "RANK": str(rank),
                    "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": port,
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(world)
        ]
        started.extend(processes)
        return processes

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def end_of():
    """Waits for processes: their exit codes, and stdout and stderr of each."""

    def wait(processes):
        outputs = [process.communicate(timeout=240) for process in processes]
        return [process.returncode for process in processes], outputs

    return wait
