"""Outputs and the head of the step summary of action.yml: python summary.py REPORT.json EXIT_CODE.

Only the standard library: it runs with whatever Python the job has.
"""

import json
import os
import re
import sys
from pathlib import Path

WORST_FIRST = ("error", "straddling", "inconclusive", "ok", "not-applicable")
MOST_BARS = 40


def main(path, code):
    """Write both files that the runner reads."""
    reports = read(Path(path))
    verdicts = [r.get("verdict", "error") for r in reports] or ["error"]
    found = [r["total"]["straddling_entropy"]["value"] for r in reports if "total" in r]
    known = [value for value in found if value is not None]
    outputs = {
        "verdict": min(verdicts, key=rank),
        "straddling": f"{max(known):.4f}" if known else "",
        "exit-code": code,
        "report": path,
    }
    append("GITHUB_OUTPUT", "".join(f"{name}={value}\n" for name, value in outputs.items()))
    append("GITHUB_STEP_SUMMARY", chart(reports))


def rank(verdict):
    """Worst first; one that a later version may have last."""
    return WORST_FIRST.index(verdict) if verdict in WORST_FIRST else len(WORST_FIRST)


def read(path):
    """The reports of a file with one or several; none where there is no file."""
    if not path.is_file():
        return []
    data = json.loads(path.read_text("utf-8"))
    return data.get("reports", [data])


def chart(reports):
    """H of every hidden group as a Mermaid chart, which GitHub and GitLab draw; "" without any."""
    rows = [
        (label(report, group), group["straddling_entropy"]["value"], group["log_order"])
        for report in reports
        for group in report.get("groups", ())
        if group["straddling_entropy"]["value"] is not None
    ]
    rows = sorted(rows, key=lambda row: -row[1])[:MOST_BARS]
    if not rows:
        return ""
    top = max(log_order for *_, log_order in rows)
    return (
        "```mermaid\nxychart-beta\n"
        '    title "H(g|w) by hidden group, nats (line: log of the group order)"\n'
        f"    x-axis [{', '.join(json.dumps(name) for name, *_ in rows)}]\n"
        f'    y-axis "nats" 0 --> {top:.4g}\n'
        f"    bar [{', '.join(f'{value:.4g}' for _, value, _ in rows)}]\n"
        f"    line [{', '.join(f'{order:.4g}' for *_, order in rows)}]\n"
        "```\n\n"
    )


def label(report, group):
    """File and group, in characters that no chart gives a meaning to."""
    stem = Path(report["model"]["path"]).stem
    return re.sub(r"[^\w.-]", "_", f"{stem} {group['name']}", flags=re.ASCII)[:40]


def append(variable, text):
    """Add to a file that the runner names, if it names one."""
    if variable in os.environ:
        with Path(os.environ[variable]).open("a", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
