"""From an interval and a threshold to a verdict (DESIGN.md, section 2)."""

from __future__ import annotations

from symdiag.diagnostics.model import Verdict
from symdiag.estimate import Estimate

DEFAULT_MAX_STRADDLING = 1.0
"""Nats of straddling entropy above which a posterior counts as straddling."""


def judge(
    entropy: Estimate, log_order: float, max_straddling: float = DEFAULT_MAX_STRADDLING
) -> Verdict:
    """``ok`` when the whole interval lies below the threshold, ``straddling`` when it lies above."""
    if log_order <= 0.0:
        return "not-applicable"
    if entropy.upper < max_straddling:
        return "ok"
    if entropy.lower > max_straddling:
        return "straddling"
    return "inconclusive"
