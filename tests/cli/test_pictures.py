"""Figures on the command line: ``-o`` takes pictures and folders, drawn from the report that is printed."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from symdiag.cli.main import main
from symdiag.report.pictures import gallery, picture
from symdiag.report.reading import read_reports

REPORTS = Path(__file__).parents[2] / "docs/reports"


def test_a_stored_report_is_redrawn_as_files_and_as_a_folder(tmp_path, capsys):
    folder = tmp_path / "figures"
    arguments = ["-o", f"{folder}/", "-o", f"svg={tmp_path / 'page'}", "--theme", "dark", "-q"]
    assert main(["report", str(REPORTS / "compare.json"), *arguments]) == 0
    assert [f.name for f in folder.iterdir()] == ["differences.svg"]
    assert ET.parse(tmp_path / "page").getroot().tag.endswith("svg")
    assert "IMPROVED" in capsys.readouterr().out


def test_several_reports_are_set_side_by_side(monkeypatch):
    monkeypatch.setattr(
        "symdiag.report.pictures.picture", lambda reports, *_, **__: str(len(reports))
    )
    both = [r for name in ("deep", "retrained") for r in read_reports(REPORTS / f"{name}.json")]
    files = gallery(both)
    assert files["files.svg"] == "2"
    assert files["1-diabetes-deep-confusion.svg"] == files["2-fixed-confusion.svg"] == "1"


def test_a_page_with_nothing_to_draw_is_written_all_the_same():
    assert b"no figure shows anything" in picture([], "svg")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "here/x.svg"], "does not exist"),
        (["-o", "file.txt/"], "is a folder, or"),
        (["-o", "x.tiff"], "cannot tell the format"),
        (["--theme", "neon"], "unknown theme"),
    ],
)
def test_what_cannot_be_written_is_refused_at_once(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("file.txt").write_text("taken", "utf-8")
    assert main(["report", str(REPORTS / "compare.json"), *arguments]) == 2
    assert words in capsys.readouterr().err
