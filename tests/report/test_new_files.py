"""A new format, a new kind of report and a new finding family: their files alone, met by the suites by themselves."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

FORMAT = '''
"""One line per report: subject, verdict, findings, and what the figures do not cover."""

EXTENSIONS = (".tally",)


def render(entries, options):
    lines = []
    for entry in entries:
        document = entry.document
        found = [f"{n.code} {n.message} {n.where}" for n in document.notices]
        said = [c.message for c in document.checks] + [d for c in document.checks for d in c.details]
        parts = (document.subject, document.verdict, *found, *said, *document.conditions)
        lines.append(ascii("; ".join(parts)).replace("::", ": :"))
    return "\\n".join(lines) + "\\n"
'''
KIND = '''
"""The report of a command that does not exist."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from symdiag.report.parts import AnyReport


@dataclass(frozen=True, kw_only=True)
class Weather(AnyReport):
    """The weather."""

    degrees: tuple[float, ...]
    kind: Literal["weather"] = "weather"


KIND = Weather
'''
VIEW = """
from symdiag.report.document import Document


def document(report):
    return Document("sky", "fair", "good", f"{len(report.degrees)} degrees")
"""
EXAMPLE = """
from report_examples import TOOL

from symdiag.report.kinds.weather import Weather

EXAMPLES = (Weather(degrees=(20.5,), tool=TOOL),)
"""
FAMILY = '''
"""SYM901: a group has more than three units."""

from symdiag.diagnostics.diagnosis import Finding
from symdiag.errors import Explanation

EXPLANATIONS = (
    Explanation("SYM901", "Many units", "There are many.", "Do nothing.",
                "docs/theory/straddling.md, 'The bonus'"),
)


def find(context):
    for group in context.groups:
        if group.width > 3:
            yield Finding("SYM901", "info", group.name, (), "many units", 4.0, 3.0, "")
'''


def test_their_files_alone_are_enough(tmp_path):
    for part in ("symdiag", "tests/report", "tests/diagnostics", "docs/theory"):
        ignore = shutil.ignore_patterns("__pycache__", "test_new_files.py", "test_align*")
        shutil.copytree(ROOT / part, tmp_path / part, ignore=ignore)
    for file in ("pyproject.toml", "docs/reproduction.md", ".ci/write_schemas.py"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    report, diagnostics = tmp_path / "symdiag/report", tmp_path / "symdiag/diagnostics"
    (report / "renderers/tally.py").write_text(FORMAT)
    (report / "kinds/weather.py").write_text(KIND)
    (report / "views/weather.py").write_text(VIEW)
    (tmp_path / "tests/report/kind_examples/weather.py").write_text(EXAMPLE)
    (diagnostics / "findings/crowds.py").write_text(FAMILY)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = dict(cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    subprocess.run([sys.executable, ".ci/write_schemas.py"], **run)
    chosen = ["-k", "tally or weather or crowds", "-p", "no:cacheprovider"]
    suites = ["tests/report/test_formats.py", "tests/report/test_kinds.py"]
    suites += ["tests/diagnostics/test_findings.py"]
    result = subprocess.run([sys.executable, "-m", "pytest", *suites, *chosen, "-v"], **run)
    assert result.returncode == 0, result.stdout
    for case in (
        "TestFormat::test_findings_are_there[tally]",
        "test_any_instance_of_the_declaration_round_trips_and_validates[weather-0]",
        "test_the_shipped_schema_is_the_generated_one[weather]",
        "test_each_finding_names_a_code_that_it_explains_and_what_it_measured[crowds]",
    ):
        assert f"{case} PASSED" in result.stdout, case
    help_text = subprocess.run([sys.executable, "-m", "symdiag", "analyze", "--help"], **run).stdout
    assert "tally" in help_text
