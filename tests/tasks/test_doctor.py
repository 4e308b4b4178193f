"""``doctor`` agrees with pyproject.toml and with the interpreter, and survives what is broken."""

import importlib
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

import symdiag
from symdiag.cli.main import main
from symdiag.tasks import doctor as task

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_what_is_required_is_what_the_package_declares():
    declared = dict(
        re.match(r"([\w-]+)>=([\d.]+)", entry).groups()
        for entry in PROJECT["project"]["dependencies"]
        if "python_version" not in entry
    )
    assert {name: least for name, (least, _) in task.REQUIRED.items()} == declared


def test_the_libraries_are_those_of_the_extra():
    entries = PROJECT["project"]["optional-dependencies"]["libraries"]
    assert set(task.LIBRARIES) == {re.match(r"[\w-]+", entry)[0] for entry in entries}


def test_versions_and_threads_are_the_interpreters_own():
    report = symdiag.doctor()
    assert report.verdict == "ready"
    assert not report.problems
    for package in report.required:
        assert package.version == metadata.version(package.name)
    assert report.threads.torch == torch.get_num_threads()
    assert report.devices[0].name == "cpu"
    assert len(report.devices) == 1 + torch.cuda.device_count()
    assert report.python == sys.version.split()[0]


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        ("absent", "missing", "pip install 'numba>=0.61'"),
        ("old", "too old", "is 0.9"),
        ("broken", "broken", "OSError: libllvm"),
    ],
)
def test_a_faulty_package_is_named_and_exits_2(fault, status, said, monkeypatch, capsys):
    installed, load = metadata.version, importlib.import_module

    def version(name):
        if name == "numba" and fault == "absent":
            raise metadata.PackageNotFoundError(name)
        return "0.9" if name == "numba" and fault == "old" else installed(name)

    def import_module(name, package=None):
        if name == "numba" and fault != "old":
            raise ImportError(name) if fault == "absent" else OSError("libllvm.so: not found")
        return load(name, package)

    monkeypatch.setattr(task.metadata, "version", version)
    monkeypatch.setattr(task.importlib, "import_module", import_module)
    report = symdiag.doctor()
    (faulty,) = [p for p in report.required if p.status != "ok"]
    assert (faulty.name, faulty.status) == ("numba", status)
    assert said in report.problems[0]
    assert main(["doctor"]) == 2
    assert said in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("2.13.0+cpu", (2, 13, 0)), ("0.4.5rc1", (0, 4, 5)), ("10.0", (10, 0)), ("odd", ())],
)
def test_releases_compare_as_numbers(version, numbers):
    assert task.release(version) == numbers
    assert task.release("0.10") > task.release("0.9")


def test_a_checkup_imports_nothing_of_ours_that_needs_torch():
    """It must come to its end where torch does not load."""
    code = (
        "import sys\nsys.modules['torch'] = None\nimport symdiag\n"
        "print([(p.name, p.status) for p in symdiag.doctor().required if p.status != 'ok'])"
    )
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.strip() == "[('torch', 'broken')]"
