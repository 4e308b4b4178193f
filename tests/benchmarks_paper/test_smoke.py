"""Every study runs from nothing at tiny settings, and resumes without repeating work."""

import dataclasses
import importlib.util
import json

import pytest

from benchmarks.paper.__main__ import NAMES, find
from benchmarks.paper.study import execute

HAS_PLOTS = importlib.util.find_spec("matplotlib") is not None
HAS_DATA = importlib.util.find_spec("sklearn") is not None


@pytest.mark.parametrize("name", NAMES)
def test_quick_run(name, tmp_path):
    if name == "digits" and not HAS_DATA:
        pytest.skip("needs scikit-learn's data")
    study = find(name)
    if not HAS_PLOTS:
        study = dataclasses.replace(study, draw=lambda rows, summary, folder: None)
    folders = {"results": tmp_path / "results", "figures": tmp_path / "figures"}
    first = execute(study, quick=True, say=lambda line: None, **folders)
    assert first.rows
    assert json.loads((tmp_path / "results" / f"{name}.json").read_text())["summary"]
    if HAS_PLOTS:
        assert (
            len(list((tmp_path / "figures").glob("*.svg")))
            == len(list((tmp_path / "figures").glob("*.png")))
            > 0
        )
    again = execute(
        dataclasses.replace(
            study, run=lambda job, settings: pytest.fail("a finished job ran again")
        ),
        quick=True,
        say=lambda line: None,
        **folders,
    )
    assert again.rows == first.rows


def test_other_settings_start_afresh(tmp_path):
    study = dataclasses.replace(find("nearest"), draw=lambda rows, summary, folder: None)
    folders = {"results": tmp_path / "results", "figures": tmp_path / "figures"}
    execute(study, quick=True, say=lambda line: None, **folders)
    other = dataclasses.replace(study, quick={**study.quick, "seeds": 1})
    assert len(execute(other, quick=True, say=lambda line: None, **folders).rows) == 2
