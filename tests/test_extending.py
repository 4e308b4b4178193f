"""docs/extending.md, executed: each example's file alone, in a copy of the project, is met by its room's suite."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "docs/extending.md").read_text("utf-8")
EXAMPLES = dict(
    re.findall(r"^`((?:symdiag|tests)/\S+\.py)`\n\n```python\n(.*?)```", GUIDE, re.S | re.M)
)
SUITES = {
    "tests/objectives/test_likelihoods.py": "test_gradient_is_the_slope[student_t]",
    "tests/permanents/test_bounds.py": "test_bound_holds_against_exact_values[row-sums-",
    "tests/permanents/test_estimators.py": "test_what_is_called_exact_is_and_what_is_certified_holds[tables-",
    "tests/alignment/test_costs.py": "test_pairwise_is_the_sum_of_elementwise[stds]",
    "tests/conformance/test_dialects.py": "[acme]",
    "tests/conformance/test_containers.py": "test_a_truncated_file_is_refused_wherever_it_ends[sealed]",
    "tests/report/test_formats.py": "TestFormat::test_findings_are_there[tally]",
    "tests/report/test_figures.py": "test_gallery[shifts-analyze]",
    "tests/report/test_kinds.py": "test_any_instance_of_the_declaration_round_trips_and_validates[weather-0]",
    "tests/diagnostics/test_findings.py": "test_each_finding_names_a_code_that_it_explains_and_what_it_measured[crowds]",
}
NAMES = "student_t or row-sums or tables or stds or acme or sealed or tally or shifts or weather or crowds"


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The project with every example's file added, and nothing else changed."""
    target = tmp_path_factory.mktemp("extended")
    ignore = shutil.ignore_patterns("__pycache__", "zoo")
    for part in ("symdiag", "tests", "docs", ".ci", "sample_models"):
        shutil.copytree(ROOT / part, target / part, ignore=ignore)
    for file in ("pyproject.toml", "README.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / file, target / file)
    for name, text in EXAMPLES.items():
        assert not (target / name).exists()
        (target / name).write_text(text, "utf-8")
    run_in(target, ".ci/write_schemas.py")
    return target


def run_in(folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_guide_has_an_example_for_every_room():
    rooms = re.findall(r"^\| \[[^|]*\| `(symdiag/[a-z_/]+)/`", GUIDE, re.M)
    assert len(rooms) == 11
    assert all(any(Path(name).parent == Path(room) for name in EXAMPLES) for room in rooms)


def test_every_suite_meets_the_new_file_by_itself(copy):
    ran = run_in(copy, "-m", "pytest", *SUITES, "-k", NAMES, "-v", "-p", "no:cacheprovider")
    assert ran.returncode == 0, ran.stdout[-4000:]
    passed = [line for line in ran.stdout.splitlines() if "PASSED" in line]
    for suite, case in SUITES.items():
        assert any(line.startswith(suite) and case in line for line in passed), (suite, case)


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["retrain", "--help"], "student_t"),
        (["align", "--help"], "stds"),
        (["analyze", "--help"], "tally"),
        (["explain", "SYM901"], "Many units"),
        (["hello"], "hello"),
        (["schema", "weather"], "degrees"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_the_command_line_offers_it(copy, arguments, shown):
    ran = run_in(copy, "-m", "symdiag", *arguments)
    assert ran.returncode == 0, ran.stderr
    assert shown in ran.stdout
