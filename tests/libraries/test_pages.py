"""docs/libraries, executed as a reader would: every block of a page in order, with the library itself."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "documents"))
from blocks import ROOT, blocks, run

LIBRARY = {
    "bayesian-torch": "bayesian_torch.layers",
    "laplace-torch": "laplace",
    "torch-uncertainty": "torch_uncertainty.layers",
    "hand-written": "torch",
    "blitz": "blitz.modules",
}
PAGES = sorted(p for p in (ROOT / "docs/libraries").glob("*.md") if p.stem != "index")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_page_runs_from_top_to_bottom(page, library, tmp_path, monkeypatch, capsys):
    library(LIBRARY.get(page.stem, page.stem))
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for block in blocks(page):
        run(block, names)
    assert capsys.readouterr().out.splitlines()
    # what was said in words on the page about the verdict rests on a report
    assert names["report"].groups[0].width == 8
