"""The committed study keeps what the docs say of it."""

import json
from pathlib import Path

import pytest

nested = pytest.importorskip("benchmarks.judge.nested")


@pytest.fixture(scope="module")
def rows():
    return json.loads(nested.RESULTS.read_text())


def test_no_bound_lies_above_the_evidence(rows):
    """L <= L^G <= log mean p/q^G <= log Z in at least 20 tiny nets, within three errors."""
    assert len(rows) >= 20
    assert not [(r["activation"], r["points"], r["width"]) for r in rows if nested.violations(r)]


def test_the_correction_is_the_information_between_nothing_and_every_copy(rows):
    for row in rows:
        gain = row["laplace_corrected"] - row["laplace"]
        assert -1e-9 <= gain <= row["log_order"] + 1e-9
        assert gain == pytest.approx(row["log_order"] - row["h_laplace"], abs=1e-6)


def test_the_table_is_that_of_the_results(rows):
    assert Path(nested.TABLE).read_text("utf-8") == nested.table(rows)
