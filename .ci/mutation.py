"""Mutation score of a room, from a random sample of its mutants.

``python .ci/mutation.py symdiag.permanents --sample 50 --seed 0``: mutmut makes the mutants (configuration in
pyproject.toml); which of the room's tests reach which function, and how long each takes, is noted once per room
(``--folders`` names further test folders or files). Each mutant of the sample then runs in a fork of one process that
has torch and numba loaded, against the tests that reach it, the quickest first, up to ``--seconds`` of them. Cutting
the list short can only lower the score: ``--survivors`` runs those again with more. ``--tests`` runs given tests, copied
anew. Prints the score with its 95 % Wilson interval, with and without the mutants of
benchmarks/mutation/equivalent.txt; ``mutmut show NAME`` prints a mutant.
"""

import argparse
import collections
import importlib
import json
import math
import os
import pkgutil
import random
import resource
import shutil
import sys
import time
from pathlib import Path

MUTANTS = Path("mutants").resolve()
EQUIVALENT = Path("benchmarks/mutation/equivalent.txt").resolve()
OPTIONS = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov", "--rootdir=."]
REACHES_NONE, TESTS_FAILED = 33, (1, 2, 3)  # our code and pytest's


def names_of(room: str) -> list:
    """Names of all mutants of a room, a package or a module."""
    found = []
    for path in sorted(MUTANTS.rglob("*.meta")):
        codes = next(v for k, v in json.loads(path.read_text()).items() if "exit_code" in k)
        found += [name for name in codes if name.startswith(f"{room}.")]
    return sorted(found)


def make() -> None:
    """The mutated copy of the sources, by mutmut."""
    from mutmut import __main__ as mutmut

    MUTANTS.mkdir(exist_ok=True)
    mutmut.copy_src_dir()
    mutmut.copy_also_copy_files()
    mutmut.setup_source_paths()
    mutmut.store_lines_covered_by_tests()
    mutmut.create_mutants(1)


class Reach:
    """A pytest plugin that notes which functions each passing test reaches, and its CPU seconds."""

    def __init__(self) -> None:
        self.tests, self.seconds, self.started = {}, {}, 0.0

    def pytest_runtest_setup(self, item) -> None:
        """Start the clock."""
        self.started = time.process_time()

    def pytest_runtest_logreport(self, report) -> None:
        """Keep what a test that passed has reached."""
        from mutmut.state import state

        hits = state()._stats
        if report.when == "call" and report.passed:
            self.seconds[report.nodeid] = time.process_time() - self.started
            for function in hits:
                self.tests.setdefault(function, []).append(report.nodeid)
        if report.when == "teardown":
            hits.clear()


def learn(kept: Path, folders: list) -> None:
    """Run the tests once, unmutated, in a fork; keep what they reach. Those that fail are left out."""
    import pytest

    pid = os.fork()
    if pid == 0:
        from mutmut.mutation.trampoline import set_mutant_under_test

        set_mutant_under_test("stats")
        found = Reach()
        pytest.main([*OPTIONS, *folders], plugins=[found])
        kept.write_text(json.dumps({"tests": found.tests, "seconds": found.seconds}))
        os._exit(0)
    os.waitpid(pid, 0)


def tests_of(name: str, stats: dict, seconds: float) -> list:
    """The tests that reach a mutant, the quickest first, as far as ``seconds`` go."""
    reach = stats["tests"].get(name.rpartition("__mutmut_")[0], [])
    chosen, spent = [], 0.0
    for test in sorted(reach, key=stats["seconds"].get):
        spent += stats["seconds"][test]
        if chosen and spent > seconds:
            break
        chosen.append(test)
    return chosen


def preload() -> None:
    """Everything slow to import, so that forks have it."""
    os.chdir(MUTANTS)
    sys.path[:0] = [str(MUTANTS)]
    os.environ["MUTANT_UNDER_TEST"] = ""
    import symdiag

    for module in pkgutil.walk_packages(symdiag.__path__, "symdiag."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def outcome(name: str, tests: list, cpu_seconds: float) -> int:
    """Exit code of the tests with one mutant active; negative where a signal ended them."""
    import pytest

    pid = os.fork()
    if pid == 0:
        os.environ["MUTANT_UNDER_TEST"] = name
        spent = int(time.process_time())
        limit = spent + int(cpu_seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        code = 3
        try:
            code = int(pytest.main([*OPTIONS, "-x", *tests]))
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def verdict(code: int) -> str:
    """What an exit code says; a mutant that no test reaches survives, one that hangs is noticed."""
    if code == REACHES_NONE:
        return "untested"
    if code in TESTS_FAILED:
        return "killed"
    return "timeout" if code < 0 else "survived"


def wilson(hits: int, count: int) -> tuple:
    """95 % interval of a share."""
    z, p = 1.96, hits / count
    centre = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count**2)) / (1 + z * z / count)
    return centre - half, centre + half


def summary(room: str, results: dict, total: int) -> str:
    """Score of a sample, with and without the mutants that are known to be equivalent."""
    lines = EQUIVALENT.read_text().splitlines() if EQUIVALENT.exists() else []
    equivalent = {line.split()[0] for line in lines if line.strip()}
    parts = []
    for what, names in (
        ("all", list(results)),
        ("without equivalent", [n for n in results if n not in equivalent]),
    ):
        caught = sum(results[n] in ("killed", "timeout") for n in names)
        low, high = wilson(caught, len(names))
        parts.append(f"{what}: {caught} of {len(names)} caught, {100 * caught / len(names):.0f} % "
                     f"[{100 * low:.0f}, {100 * high:.0f}]")  # fmt: skip
    return f"{room}, {total} mutants; {'; '.join(parts)}; {dict(collections.Counter(results.values()))}"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("room")
    parser.add_argument("--sample", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folders", nargs="*", default=[], help="of tests, beside the room's own")
    parser.add_argument("--limit", type=int, default=10**6, help="mutants in this run; more later")
    parser.add_argument("--seconds", type=float, default=10.0, help="of tests per mutant")
    parser.add_argument("--only", nargs="*", help="these mutants in the place of a sample")
    parser.add_argument("--survivors", action="store_true", help="run those kept from before again")
    parser.add_argument("--tests", nargs="*", help="against these tests")
    return parser.parse_args()


def main() -> None:
    """Sample, run, count."""
    given = arguments()
    if not MUTANTS.exists():
        make()
    if given.tests:
        shutil.copytree("tests", MUTANTS / "tests", dirs_exist_ok=True)
    every = names_of(given.room)
    preload()
    reach = MUTANTS / f"reach-{given.room}.json"
    if not reach.exists():
        learn(reach, [f"tests/{given.room.split('.')[1]}", *given.folders])
    stats = json.loads(reach.read_text())
    kept = MUTANTS / f"outcomes-{given.room}-{given.seed}.json"
    results = json.loads(kept.read_text()) if kept.exists() else {}
    sample = random.Random(given.seed).sample(every, min(given.sample, len(every)))
    names = given.only or [name for name in sample if name not in results][: given.limit]
    if given.survivors:
        names = [n for n, v in results.items() if v in ("survived", "untested")]
    for name in names:
        tests = given.tests or tests_of(name, stats, given.seconds)
        nominal = 60.0 if given.tests else sum(stats["seconds"][t] for t in tests)
        code = outcome(name, tests, 20.0 + 4.0 * nominal) if tests else REACHES_NONE
        results[name] = verdict(code)
        kept.write_text(json.dumps(results, indent=1))
        print(results[name], code, name, flush=True)
    control = next((tests_of(n, stats, given.seconds) for n in names if results[n] == "killed"), [])
    if control and outcome("", given.tests or control, 600.0) != 0:
        sys.exit("the tests fail without any mutant: nothing of this counts")
    print(summary(given.room, results, len(every)))


if __name__ == "__main__":
    main()
