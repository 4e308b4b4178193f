"""``symdiag.compare``: has straddling got worse from one posterior to the next?"""

from __future__ import annotations

import time
from pathlib import Path

from symdiag.errors import UsageError
from symdiag.report import Report
from symdiag.report.comparison import compare_reports
from symdiag.report.kinds.compare import Comparison
from symdiag.report.reading import looks_like_json, read_reports
from symdiag.tasks._inputs import Progress, Source, run_info
from symdiag.tasks.keywords import flat
from symdiag.tasks.options import ComparisonOptions, EstimationOptions, ReadingOptions


@flat
def compare(
    before: Source | Report,
    after: Source | Report,
    *,
    comparison: ComparisonOptions = ComparisonOptions(),
    reading: ReadingOptions = ReadingOptions(),
    estimation: EstimationOptions = EstimationOptions(),
    progress: Progress | None = None,
) -> Comparison:
    """Compare the straddling of two posteriors of one architecture.

    Args:
        before: Checkpoint, posterior or report (JSON file or object) to compare with.
        after: The same of the one that may have regressed.
        comparison: How much may be added.
        reading: The network, and what the files leave open.
        estimation: Precision, draws and seed, where an analysis has to be made.
        progress: Called with (stage, fraction done).

    Raises:
        SymdiagError: Bad input, or two that cannot be compared (``not-comparable``).
    """
    started = time.time()
    first, second = reading.each(2)
    return compare_reports(
        _report(before, first, estimation, progress),
        _report(after, second, estimation, progress),
        comparison.tolerance,
        run=run_info(started),
    )


def _report(
    source: Source | Report,
    reading: ReadingOptions,
    estimation: EstimationOptions,
    progress: Progress | None,
) -> Report:
    if isinstance(source, Report):
        return source
    if isinstance(source, str | Path) and looks_like_json(Path(source)):
        found = read_reports(Path(source))
        if len(found) != 1 or not isinstance(found[0], Report):
            raise UsageError(
                f"{source} does not hold exactly one analyze report", code="not-comparable"
            )
        return found[0]
    from symdiag.tasks.analyze import analyze  # torch, which two JSON reports do without

    return analyze(source, reading=reading, estimation=estimation, progress=progress)
