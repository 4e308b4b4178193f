import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "report"))


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch, tmp_path):
    """No settings of the machine, and no configuration file above the working folder."""
    import os

    for name in list(os.environ):
        if name.startswith("SYMDIAG_") or name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
