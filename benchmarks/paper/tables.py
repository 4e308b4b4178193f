"""The tables of docs/reproduction.md, written from the committed results: ``python -m benchmarks.paper.tables``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from benchmarks.paper.study import RESULTS, Row
from benchmarks.paper.two_weights import PAPER

DOCS = Path(__file__).parents[2] / "docs" / "reproduction.md"
LABELS = {"elbo": "MFVI", "infonce": "paper's K = 2", "symmetrized": "exact L^G"}


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table; bars inside cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def change(interval: list[float | None], digits: int) -> str:
    """``+1.2 [0.9, 1.5]``."""
    centre, low, high = interval
    if low is None or high is None:
        return f"{centre:+.{digits}f}"
    return f"{centre:+.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def gaussians(s: Row) -> str:
    rows = []
    for dims, (appears, wins, dissolves) in s["by_dimension"].items():
        rows.append(
            [
                dims,
                f"{appears:.3f}",
                f"{wins:.3f}",
                "never" if dissolves is None else f"{dissolves:.3f}",
            ]
        )
    return markdown(
        [
            "weights the separation is spread over",
            "mode held above",
            "mode better above",
            "midpoint gone above",
        ],
        rows,
    )


def transition(s: Row) -> str:
    rows = [
        [k, f"{v['last_at_midpoint']:.3f}", f"{v['first_at_mode']:.3f}", f"{v['exact']:.3f}"]
        for k, v in s["transition_by_descent"].items()
    ]
    return markdown(
        ["σ", "largest α that ends at the midpoint", "smallest that stays at the mode", "4.8245 σ"],
        rows,
    )


def two_weights(s: Row, how: str) -> str:
    rows = []
    for c in s["table"]:
        if c["how"] != how:
            continue
        alphas = sorted({x["alpha"] for x in s["table"]})
        k = alphas.index(c["alpha"])
        theirs = "" if c["objective"] == "symmetrized" else _theirs(c["objective"], k)
        rows.append([
            f"{c['noise']:g}", f"{c['alpha']:g}", LABELS[c["objective"]], f"{c['mse']:.4f} ± {c['mse_std']:.4f}",
            change(c["mse_change"], 4), f"{c['elbo'] / 100:.4f}", f"{c['symmetrized'] / 100:.4f}",
            f"{c['evidence'] / 100:.4f}", f"{c['entropy']:.3f}", theirs,
        ])  # fmt: skip
    head = [
        "noise",
        "α",
        "trained on",
        "test MSE",
        "over MFVI, paired",
        "L/N",
        "L^G/N",
        "log Z/N",
        "H",
        "paper: MSE; L; L^G",
    ]
    return markdown(head, rows)


def _theirs(objective: str, k: int) -> str:
    return "; ".join(f"{PAPER[key][objective][k]:g}" for key in ("mse", "elbo", "symmetrized"))


def digits(s: Row) -> str:
    rows = []
    widths = sorted({c["width"] for c in s["table"]})
    for c in s["table"]:
        theirs = s["paper_accuracy_on_mnist"].get(c["objective"])
        k = widths.index(c["width"])
        name = {"elbo": "MFVI", "symmetrized": "permanent"}.get(
            c["objective"], c["objective"].replace("infonce-", "K = ")
        )
        rows.append([
            str(c["width"]), name, f"{c['accuracy']:.2f}", change(c["accuracy_change"], 2), f"{c['nll']:.4f}",
            change(c["nll_change"], 4), f"{c['symmetrized']:.1f}", change(c["symmetrized_change"], 1), f"{c['entropy']:.1f}",
            f"{theirs[k]:.3f}" if theirs else "",
        ])  # fmt: skip
    head = [
        "width",
        "trained on",
        "accuracy %",
        "paired",
        "NLL",
        "paired",
        "L^G",
        "paired",
        "H",
        "paper (MNIST) %",
    ]
    return markdown(head, rows)


def nearest(s: Row) -> str:
    rows = [
        [
            str(c["inputs"]),
            str(c["width"]),
            f"{c['nearest']:.3g}",
            f"{c['bound']:.4g}",
            f"{c['looseness']:.0f}x",
        ]
        for c in s["table"]
        if c["width"] in (5, 30, 256, 1024)
    ]
    return markdown(
        ["inputs", "width", "nearest mode / ‖ω‖", "Theorem 3.1", "looser by at least"], rows
    )


def saturation(s: Row) -> str:
    rows = [
        [f"{c['scale']:g}", str(c["width"]), f"{c['log_order']:.1f}", f"{c['I']:.2f}", f"[{c['I_interval'][0]:.2f}, {c['I_interval'][1]:.2f}]",
         f"{c['I_K']:.2f}", f"{c['infonce_error']:+.2f}", f"{1e3 * c['infonce_seconds']:.2f}", f"{c['permanent_error']:+.3f}",
         f"{1e3 * c['permanent_seconds']:.2f}"]
        for c in s["table"]
    ]  # fmt: skip
    head = [
        "std",
        "width",
        "log|G|",
        "I",
        "interval",
        "I^1000",
        "its error",
        "ms/draw",
        "error of 2 x 256 particles",
        "ms/draw",
    ]
    return markdown(head, rows)


def payoff_bins(s: Row) -> str:
    rows = []
    for b in s["by_H"]:
        q = b["gain_quartiles"]
        top = "∞" if b["H_to"] is None else f"{b['H_to']:g}"
        rows.append([f"{b['H_from']:g} – {top}", str(b["posteriors"]), f"{q[2]:.2f}", f"[{q[1]:.2f}, {q[3]:.2f}]",
                     f"[{q[0]:.2f}, {q[4]:.2f}]", f"{b['median_nll_change']:+.4f}"])  # fmt: skip
    return markdown(
        [
            "H(g|ω) of the checkpoint",
            "posteriors",
            "median gain",
            "quartiles",
            "range",
            "median change in test NLL",
        ],
        rows,
    )


def payoff_thresholds(s: Row) -> str:
    rows = []
    for threshold, c in s["thresholds"].items():
        missed = c["largest_missed_gain"]
        rows.append(
            [
                threshold,
                str(c["flagged"]),
                str(c["flagged_and_pays"]),
                str(c["missed"]),
                "" if missed is None else f"{missed:.2f}",
            ]
        )
    head = [
        "threshold",
        "flagged",
        "of them gain > 1 nat",
        "gain > 1 nat not flagged",
        "largest gain not flagged",
    ]
    return markdown(head, rows)


def payoff_groups(s: Row) -> str:
    groups = {**s["by_data"], **s["by_activation"]}
    rows = [
        [k, str(v["posteriors"]), f"{v['median_H']:.2f}", f"{v['median_gain']:.2f}", f"{v['median_nll_change']:+.4f}",
         "" if v["spearman_H_gain"] is None else f"{v['spearman_H_gain']:.2f}"]
        for k, v in groups.items() if v
    ]  # fmt: skip
    return markdown(
        [
            "",
            "posteriors",
            "median H",
            "median gain",
            "median change in test NLL",
            "rank correlation H, gain",
        ],
        rows,
    )


def payoff_misses(s: Row) -> str:
    rows = []
    for title, key in (("least", "least_gain_for_H"), ("most", "most_gain_for_H")):
        for m in s["misses"][key]:
            what = (
                m["data"] if m["count"] is None else f"{m['data']} N={m['count']} ε={m['noise']:g}"
            )
            rows.append([title, f"{what}, {m['width']} {m['activation']}, seed {m['seed']}", f"{m['H']:.2f}", str(m["collapsed"]),
                         f"{m['gain']:.2f} ± {2 * m['gain_se']:.2f}", f"{m['nll_change']:+.4f}"])  # fmt: skip
    return markdown(
        ["gain for its H", "posterior", "H", "collapsed units", "gain", "change in test NLL"], rows
    )


def shift(s: Row) -> str:
    names = {
        "prediction_reliability": "two halves of the draws with each other",
        "gradient_cosine": "with ∇L^G at the checkpoint (data used)",
        "cosine_mean_early": "means, shift after the first 100 steps",
        "cosine_std_early": "stds, the same",
        "cosine_mean_final": "means, shift at the end",
        "cosine_std_final": "stds, the same",
        "unit_rank_early": "rank correlation of unit sizes, first steps",
        "unit_rank_final": "rank correlation of unit sizes, end",
    }
    rows = [[text, *(f"{v:.2f}" for v in s[key])] for key, text in names.items() if s[key]]
    return markdown(["−∇H of the checkpoint compared …", "10 %", "median", "90 %"], rows)


TABLES: dict[str, tuple[str, Callable[[Row], str]]] = {
    "gaussians": ("gaussians", gaussians),
    "transition": ("gaussians", transition),
    "two-weights-converged": ("two_weights", lambda s: two_weights(s, "converged")),
    "two-weights-protocol": ("two_weights", lambda s: two_weights(s, "protocol")),
    "digits": ("digits", digits),
    "nearest": ("nearest", nearest),
    "saturation": ("saturation", saturation),
    "payoff-bins": ("payoff", payoff_bins),
    "payoff-thresholds": ("payoff", payoff_thresholds),
    "payoff-groups": ("payoff", payoff_groups),
    "payoff-misses": ("payoff", payoff_misses),
    "shift": ("payoff", shift),
}


def render(text: str, results: Path = RESULTS) -> str:
    """Replace what stands between ``<!-- table NAME -->`` and ``<!-- end -->``."""

    def fill(match: re.Match[str]) -> str:
        study, build = TABLES[match[1]]
        summary = json.loads((results / f"{study}.json").read_text())["summary"]
        return f"<!-- table {match[1]} -->\n\n{build(summary)}\n\n<!-- end -->"

    return re.sub(r"<!-- table ([\w-]+) -->.*?<!-- end -->", fill, text, flags=re.DOTALL)


if __name__ == "__main__":
    DOCS.write_text(render(DOCS.read_text()))
