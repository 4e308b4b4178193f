"""Every code that the source can raise is explained, and nothing else is."""

import re
from pathlib import Path

import symdiag
from symdiag.report.error_codes import ERROR_CODES

SOURCE = Path(symdiag.__file__).parent


def _codes_in_source():
    pattern = re.compile(r'(?:\bcode=|\bdefault_code(?:: ClassVar\[str\])? = )"([a-z][a-z0-9-]*)"')
    return {
        code for path in SOURCE.rglob("*.py") for code in pattern.findall(path.read_text("utf-8"))
    }


def test_every_code_raised_has_a_row_in_report_error_codes():
    assert _codes_in_source() - set(ERROR_CODES) == set()


def test_rows_are_complete_sentences():
    for code, row in ERROR_CODES.items():
        assert row.code == code
        assert row.meaning.endswith("."), code
        assert row.action.endswith("."), code
        assert not row.title.endswith("."), code
