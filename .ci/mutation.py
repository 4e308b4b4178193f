"""Mutation score of a room, from a random sample of its mutants.

``python .ci/mutation.py symdiag.permanents --sample 150 --seed 0``: mutmut makes the mutants and runs, for each of
the sample, the tests that reach it (configuration in pyproject.toml). Prints killed, survived, and the score with its
95 % Wilson interval; ``--score`` only counts what has been run. ``mutmut show NAME`` prints a survivor.
"""

import argparse
import collections
import json
import math
import random
import subprocess
import sys
from pathlib import Path

KILLED, SURVIVED, UNTESTED = {1, 3}, {0}, {5, 33}
TIMEOUT = {-24, -14, 24, 36, 37, 152, 255}


def verdicts(room: str) -> dict:
    """Mutant name → exit code of its tests, None where it was not run."""
    found = {}
    for path in sorted(Path("mutants").rglob("*.meta")):
        codes = next(v for k, v in json.loads(path.read_text()).items() if "exit_code" in k)
        found.update({name: code for name, code in codes.items() if name.startswith(f"{room}.")})
    return found


def kind(code: int) -> str:
    """What an exit code says; a mutant that no test reaches survives, one that hangs is noticed."""
    if code in SURVIVED or code in UNTESTED:
        return "survived" if code in SURVIVED else "untested"
    return "timeout" if code in TIMEOUT else "killed"


def wilson(hits: int, count: int) -> tuple:
    """95 % interval of a share."""
    z, p = 1.96, hits / count
    centre = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count**2)) / (1 + z * z / count)
    return centre - half, centre + half


def main() -> None:
    """Sample, run, count."""
    parser = argparse.ArgumentParser()
    parser.add_argument("room")
    parser.add_argument("--sample", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--score", action="store_true")
    given = parser.parse_args()
    if not given.score:
        if not verdicts(
            given.room
        ):  # makes mutants and learns which tests reach what; matches none
            subprocess.run(["mutmut", "run", "no.such.mutant"], check=False, capture_output=True)
        names = sorted(verdicts(given.room))
        random.Random(given.seed).shuffle(names)
        subprocess.run(
            ["mutmut", "run", "--max-children", "1", *names[: given.sample]], check=False
        )
    run = {name: kind(code) for name, code in verdicts(given.room).items() if code is not None}
    counts = collections.Counter(run.values())
    for name, verdict in sorted(run.items()):
        if verdict in ("survived", "untested"):
            print(verdict, name)
    if not run:
        sys.exit("nothing was run")
    caught = counts["killed"] + counts["timeout"]
    low, high = wilson(caught, len(run))
    total = len(verdicts(given.room))
    print(f"{given.room}: {caught} of {len(run)} caught ({100 * caught / len(run):.0f} %, 95 % interval "
          f"{100 * low:.0f} to {100 * high:.0f}), {total} mutants in all; {dict(counts)}")  # fmt: skip


if __name__ == "__main__":
    main()
