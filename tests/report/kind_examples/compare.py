"""Every outcome."""

import dataclasses
import math

from report_examples import HOSTILE, TOOL

from symdiag.report.kinds.compare import Compared, Comparison, ComparisonSettings, Difference

_ROWS = (
    Difference("fc1", 1.0, 1.5, 0.5, 0.1, 0.3, "regressed"),
    Difference(HOSTILE, 1.0, math.inf, math.inf, None, math.inf, "inconclusive"),
    Difference("total", 2.0, 2.5, 0.5, 0.1, 0.3, "regressed"),
)
_REPORT = Comparison(
    before=Compared("old.json", "0" * 64, "ok", "layerwise", 64, 0),
    after=Compared(HOSTILE, "1" * 64, "straddling", "layerwise", 64, 0),
    straddling_entropy=_ROWS,
    mutual_information=_ROWS,
    verdict="regressed",
    settings=ComparisonSettings(0.1),
    tool=TOOL,
)
EXAMPLES = tuple(
    dataclasses.replace(_REPORT, verdict=verdict)
    for verdict in ("regressed", "unchanged", "improved", "inconclusive")
)
