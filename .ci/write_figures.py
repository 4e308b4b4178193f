"""Draw the figures of docs/figures.md and the README from the stored reports in docs/reports.

``python .ci/write_figures.py`` draws anew and writes docs/figures.md; ``--check`` fails where a file differs;
``--reports`` first makes the reports anew (a quarter of an hour: one of them retrains, another samples by HMC).
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from symdiag.report import from_dict  # noqa: E402
from symdiag.report.figures import find_figure  # noqa: E402
from symdiag.report.pictures import overview, picture  # noqa: E402

REPORTS, IMAGES, PAGE = ROOT / "docs/reports", ROOT / "docs/images", ROOT / "docs/figures.md"
WAVE = "sample_models/wave-straddled.pt --activation relu"
DATA = "--data sample_models/wave.npz --noise 0.3 --prior-std 1"
TEST = "--test sample_models/wave-test.npz"
COMMANDS = {
    "retrain": f"retrain {WAVE} {DATA} {TEST} --steps 1500 --control-runs 1 -o fixed.pt --report",
    "straddled": f"analyze {WAVE} {DATA} {TEST} --exit-zero -o",
    "retrained": f"analyze fixed.pt --activation relu {DATA} {TEST} --exit-zero -o",
    "deep": "analyze sample_models/diabetes-deep.safetensors --exit-zero -o",
    "compare": "compare straddled.json retrained.json -o",
    "prune": f"prune {WAVE} {DATA} -o pruned.pt --report",
    "inspect": "inspect sample_models/digits.pt --activation relu -o",
    "align": f"align fixed.pt {WAVE} {DATA} --report",
    "universe": f"align fixed.pt {WAVE} --universe --report",
    "samples": "samples draws.npz --chains --activation tanh --report",
}
# figure → the stored reports that it is drawn from
SHOWN = {
    "confusion": ["straddled"],
    "layers": ["deep"],
    "separation": ["straddled"],
    "signal": ["straddled"],
    "kl_weight": ["straddled"],
    "files": ["straddled", "retrained", "deep"],
    "evidence": ["retrain"],
    "training": ["retrain"],
    "differences": ["compare"],
    "matching": ["align"],
    "path": ["align"],
    "switching": ["samples"],
    "rhat": ["samples"],
    "scales": ["inspect"],
}
HEAD = """# Figures

Every figure is drawn from a report alone: from a run, or later from its JSON.

```python
import symdiag

report = symdiag.analyze("sample_models/wave-straddled.pt", activation="relu")
page = report.plot()  # a page of the figures that say most; a matplotlib Figure
one = report.plot("confusion")
dark = report.plot("separation", theme="dark")
```

On axes of your own, for a figure of your own: `report.plot("layers", axes=axes)`; a figure with several panels takes a sequence of axes.
On the command line `-o` takes pictures beside the other formats, and a folder for every figure by itself:

<!-- not run: the files are the reader's -->
```sh
symdiag analyze model.pt -o page.pdf
symdiag retrain model.pt --data train.npz -o fixed.pt --report figures/
symdiag report report.json -o page.svg --theme dark
```

The ending says the format: `.svg`, `.pdf` or `.png`. Text in an SVG is text: it can be searched, read aloud and set in another font. Colours
are those of Okabe and Ito; marks differ in shape and lines in dashes as well. The same report gives the same file to the byte. Several
checkpoints in one call are set side by side. `symdiag report` draws old reports; what their version did not record is left out.

The figures below are made from the JSON in `docs/reports` by `python .ci/write_figures.py`.
"""


def made(folder: Path) -> None:
    """The stored reports, made anew in a scratch folder, without what is volatile."""
    (folder / "sample_models").symlink_to(ROOT / "sample_models")
    shell = {"cwd": folder, "check": True}
    script = ROOT / "benchmarks/samples/hmc_chains.py"
    subprocess.run([sys.executable, str(script), "draws.npz"], **shell)
    for name, command in COMMANDS.items():
        words = [*command.split(), f"{name}.json"]
        subprocess.run([sys.executable, "-m", "symdiag", *words, "-q"], **shell)
        report = json.loads((folder / f"{name}.json").read_text("utf-8"))
        report["run"] = {}
        (REPORTS / f"{name}.json").write_text(json.dumps(report, separators=(",", ":")) + "\n")


def stored(name: str) -> object:
    """A stored report."""
    return from_dict(json.loads((REPORTS / f"{name}.json").read_text("utf-8")))


def drawn() -> dict:
    """Path → bytes of every file that is made from the stored reports."""
    before, after = stored("straddled"), stored("retrained")
    files, parts = {IMAGES / "overview.svg": overview(before, after)}, [HEAD]
    files[IMAGES / "overview-dark.svg"] = overview(before, after, theme="dark")
    for name, reports in sorted(SHOWN.items(), key=lambda item: find_figure(item[0]).rank):
        figure = find_figure(name)
        files[IMAGES / f"{name}.svg"] = picture([stored(r) for r in reports], "svg", name)
        kinds = ", ".join(figure.kinds) + (" of several files" if figure.of_many else "")
        alt = f"{figure.title}, drawn from docs/reports/{reports[0]}.json"
        parts.append(
            f"## {figure.title}\n\n`{name}`, of {kinds}. {figure.reading}\n\n![{alt}](images/{name}.svg)\n"
        )
    files[PAGE] = "\n".join(parts).encode("utf-8")
    return files


def main() -> int:
    """Draw, or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", action="store_true")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    if given.reports:
        folder = Path(tempfile.mkdtemp())
        try:
            made(folder)
        finally:
            shutil.rmtree(folder)
    stale = {p: b for p, b in drawn().items() if not p.exists() or p.read_bytes() != b}
    for path, content in stale.items():
        if not given.check:
            path.write_bytes(content)
        print("stale:" if given.check else "wrote:", path.relative_to(ROOT))
    return 1 if given.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
