"""``python -m benchmarks.paper NAME ...``: run studies and draw their figures."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import torch

from benchmarks.paper.study import FIGURES, RESULTS, Study, execute

NAMES = ("gaussians", "two_weights", "digits", "nearest", "saturation", "payoff", "layers")


def find(name: str) -> Study:
    """The study called ``name``."""
    study: Study = importlib.import_module(f"benchmarks.paper.{name}").STUDY
    return study


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper", description=__doc__)
    parser.add_argument("names", nargs="+", choices=[*NAMES, "all"], help="which studies")
    parser.add_argument("--fresh", action="store_true", help="forget the rows on disk")
    parser.add_argument("--quick", action="store_true", help="tiny settings, to see that it works")
    parser.add_argument("--figures-only", action="store_true", help="draw from the rows on disk")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    parser.add_argument(
        "--out", type=Path, help="folder for results and figures (default: this package's own)"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    out = options.out or (Path("paper-quick") if options.quick else None)
    for name in NAMES if "all" in options.names else options.names:
        execute(
            find(name),
            quick=options.quick,
            fresh=options.fresh,
            only_figures=options.figures_only,
            workers=options.workers,
            results=out / "results" if out else RESULTS,
            figures=out / "figures" if out else FIGURES,
        )


if __name__ == "__main__":
    main()
