"""A 2-500-1 tanh net as a user would mend it: ``python -m benchmarks.wide.through_retrain FOLDER [CHECKOUT ...]``.

Makes, once, a checkpoint in FOLDER by 5000 steps of plain VI (rate 1e-2) on Coker et al.'s two_dim points, with their
network (1/√500 in its forward pass) as a user's module, and runs ``symdiag retrain`` on it: 3000 steps, one control, one
thread. Each CHECKOUT is the root of a copy of the project, this one if none is named; they run at the same time, one
process each, and are compared by CPU time. ``--steps 300`` for a tenth.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from benchmarks.wide.study import NOISE_VARIANCE, Cell, Routes

CELL = Cell("two_dim", "tanh", 500, 0)
MODULE = """
import math
from torch import nn

class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(2, 500), nn.Linear(500, 1, bias=True)

    def forward(self, x):
        h = self.fc1(x).tanh()
        return nn.functional.linear(h, self.fc2.weight / math.sqrt(500), self.fc2.bias)
"""


def make(folder: Path) -> None:
    """Checkpoint, module and data."""
    problem, q, _ = Routes(CELL, 5000, 0.01).run(None, "elbo")
    posterior = q.posterior(problem.posterior)
    state = {}
    for name in posterior.loc:
        state[f"{name}_mu"] = torch.from_numpy(posterior.loc[name])
        state[f"{name}_rho"] = torch.from_numpy(np.log(np.expm1(posterior.scale[name])))
    torch.save(state, folder / "wide.pt")
    (folder / "wide_net.py").write_text(MODULE)
    for name, data in zip(("train", "test"), CELL.data(), strict=True):
        np.savez(folder / f"{name}.npz", x=data.inputs, y=data.targets)


def command(steps: int, name: str) -> list[str]:
    """What is typed."""
    words = (
        f"retrain wide.pt --data train.npz --test test.npz --model wide_net:Wide --steps {steps}"
    )
    words += (
        f" --control-runs 1 --prior-std 1 --noise {NOISE_VARIANCE**0.5} --scale-transform softplus"
    )
    words += f" --activation tanh --patience 0 --format json -o {name}.out.pt"
    return [sys.executable, "-m", "symdiag", *words.split()]


def start(folder: Path, checkout: Path, steps: int) -> tuple[subprocess.Popen, Path]:
    """One process, and where its report goes."""
    name = checkout.resolve().name
    for old in folder.glob(f"{name}.*"):
        old.unlink()
    report = folder / f"{name}.json"
    environment = os.environ | {"PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command(steps, name),
        cwd=folder,
        env=environment,
        stdout=report.open("w"),
        stderr=(folder / f"{name}.err").open("w"),
    )
    return process, report


def main() -> None:
    """One line for each checkout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("checkouts", type=Path, nargs="*", default=[Path()])
    parser.add_argument("--steps", type=int, default=3000)
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)
    if not (options.folder / "wide.pt").exists():
        make(options.folder)
    running = [start(options.folder, path, options.steps) for path in options.checkouts]
    for path, (process, report) in zip(options.checkouts, running, strict=True):
        _, status, usage = os.wait4(process.pid, 0)
        seconds = usage.ru_utime + usage.ru_stime
        print(f"{path}: exit {os.waitstatus_to_exitcode(status)}, {seconds:.0f} s of CPU")
        found = json.loads(report.read_text())
        print(f"  {found['verdict']}, against {found['compared_run']}:")
        for change in found["changes"]:
            print("  ", *change.values())


if __name__ == "__main__":
    main()
