"""What holds for every test."""

import pytest

from symdiag.estimators import values


@pytest.fixture(autouse=True)
def contradictions_raise(monkeypatch):
    """An upper end below a value by more than its error is an internal error here, chance or not."""
    monkeypatch.setattr(values, "strict", True)
