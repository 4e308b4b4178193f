"""Train the cells and print the tables: ``python -m benchmarks.wide run|tables``.

``run --tasks two_dim --widths 125 500 --seeds 3 --steps 2500`` (of each half) appends one line of JSON for each route to
``benchmarks/wide/results.jsonl`` and skips what is there; ``tables`` writes ``results.md`` from it.
"""

import argparse
import json
from pathlib import Path

from benchmarks.wide.real import DIGITS, REGRESSIONS, Digits, Split
from benchmarks.wide.study import FUNCTIONS, ROUTES, Cell, Routes, figures

KINDS = {
    **dict.fromkeys(FUNCTIONS, Cell),
    **dict.fromkeys(REGRESSIONS, Split),
    **dict.fromkeys(DIGITS, Digits),
}
RESULTS = Path(__file__).parent / "results.jsonl"


def rows() -> list[dict]:
    """All lines of results so far."""
    return (
        [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    )


def run(options) -> None:
    """Every route of a cell that has no results yet, seeds outermost: an early stop leaves pairs."""
    keys = ("task", "activation", "width", "seed", "steps", "rate", "route")
    done = {tuple(row[key] for key in keys) for row in rows()}
    for seed in range(options.seeds):
        for task in options.tasks:
            for width in options.widths:
                for activation in options.activations:
                    cell = KINDS[task](task, activation, width, seed)
                    named = (task, activation, width, seed, 2 * options.steps, options.rate)
                    routes = [name for name in options.routes if (*named, name) not in done]
                    one_cell(cell, options.steps, options.rate, routes)


def one_cell(cell: Cell, steps: int, rate: float, routes: list[str]) -> None:
    """The routes of a cell; their lines are written together at its end."""
    lines = []
    for route, problem, q, seconds in Routes(cell, steps, rate).all(routes):
        row = vars(cell) | {"route": route, "steps": 2 * steps, "rate": rate, "seconds": seconds}
        row |= figures(problem, q, cell.seed)
        lines.append(
            json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
        )
        print(lines[-1], flush=True)
    with RESULTS.open("a") as file:
        file.write("".join(line + "\n" for line in lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("run", "tables"))
    parser.add_argument("--tasks", nargs="+", choices=KINDS, default=["two_dim"])
    parser.add_argument("--activations", nargs="+", default=["tanh", "relu"])
    parser.add_argument("--widths", nargs="+", type=int, default=[125, 500])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--routes", nargs="+", choices=ROUTES, default=ROUTES)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument(
        "--rate", type=float, default=0.03, help="peak learning rate, of all routes"
    )
    options = parser.parse_args()
    if options.action == "run":
        run(options)
    else:
        from benchmarks.wide.tables import write

        write(rows())
