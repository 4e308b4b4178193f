"""The notebooks of docs/notebooks run as they are, without a file on disk, and show what their pages show."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


def runner():
    spec = importlib.util.spec_from_file_location("run_notebooks", ROOT / ".ci/run_notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kinds(notebook):
    """What each code cell shows: text, tables, pictures."""
    return [
        [sorted(output.get("data", {"text": 0})) for output in cell["outputs"]]
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Notebook's name → (as committed, as it came out now, its variables, the folder it ran in)."""
    for package in ("bayesian_torch", "pandas", "matplotlib"):
        pytest.importorskip(package)
    import matplotlib

    matplotlib.use("Agg")
    found = {}
    for path in NOTEBOOKS:
        committed, notebook = (json.loads(path.read_text("utf-8")) for _ in range(2))
        folder = tmp_path_factory.mktemp(path.stem)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            variables = runner().execute(notebook)
        found[path.stem] = committed, notebook, variables, folder
    return found


def test_a_live_module_goes_to_figures_retraining_and_a_table(executed):
    _, _, made, folder = executed["live-module"]
    assert list(folder.iterdir()) == []
    report, retrained, after = made["report"], made["retrained"].report, made["after"]
    # before retraining it straddles, and retraining takes it away from the control
    assert report.verdict == "straddling"
    entropy = {f.name: f.straddling_entropy.value for f in (retrained.before, retrained.control)}
    assert retrained.retrained.straddling_entropy.value < min(entropy.values())
    # the module holds what the report speaks of
    now = after.total.straddling_entropy
    reported = retrained.retrained.straddling_entropy
    assert abs(now.value - reported.value) < 4 * (now.std_error + reported.std_error)
    frame = retrained.to_dataframe()
    assert list(frame["name"]) == ["before", "control", "retrained"]
    assert frame["elbo"][2] == retrained.retrained.elbo.value


def test_what_the_pages_show_is_what_the_cells_show(executed):
    for committed, notebook, *_ in executed.values():
        assert kinds(committed) == kinds(notebook)
        shown = json.dumps(notebook)
        assert "image/svg+xml" in shown
        assert "text/html" in shown


def test_notebooks_are_of_the_format_that_viewers_read():
    for path in NOTEBOOKS:
        notebook = json.loads(path.read_text("utf-8"))
        assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
        names = [cell["id"] for cell in notebook["cells"]]
        assert len(set(names)) == len(names)
        assert notebook["cells"][0]["source"][0].startswith("# ")
