"""Two posteriors told apart; three that are not, one unnamed in every way, nothing known of it."""

import dataclasses
import math

from report_examples import HOSTILE, TOOL, estimate

from symdiag.report.kinds.evidence import Candidate, Contrast, EvidenceTable

_FULL = Candidate(
    name="runs/first.pt",
    sha256="0" * 64,
    log_order=6.58,
    elbo=estimate(-120.5),
    mutual_information=estimate(3.38),
    straddling_entropy=estimate(3.2),
    symmetrized=estimate(-117.12),
    kl_weight=0.993,
    kl_weight_status="ok",
    pareto_k=1.4,
    pareto_k_symmetrized=1.1,
    importance_bound=estimate(-101.0),
    test={"nll": 0.5631, "rmse": 0.402, "calibration_error": 0.03},
)
_SECOND = dataclasses.replace(
    _FULL, name="runs/second.pt", kl_weight=9.0, kl_weight_status="not-stationary"
)
_UNKNOWN = dataclasses.replace(
    _FULL,
    name=HOSTILE,
    kl_weight=None,
    kl_weight_status="",
    pareto_k=None,
    pareto_k_symmetrized=None,
    importance_bound=None,
    test=None,
)
_NAMES = ("runs/first.pt", "runs/second.pt")
_CONTRASTS = (
    Contrast(*_NAMES, "elbo", -3.25, 0.125, 0.375, True, True),
    Contrast(*_NAMES, "straddling_entropy", 0.1, 0.25, 0.85, False, False),
    Contrast(*_NAMES, "symmetrized", -3.0, 0.3, 0.95, True, True),
    Contrast(*_NAMES, "nll", 0.0625, 0.01, 0.03, True, True),
)
_UNDECIDED = tuple(
    Contrast(first, second, "symmetrized", math.inf, None, math.inf, False, False)
    for first, second in ((_NAMES[0], _NAMES[1]), (_NAMES[0], HOSTILE), (_NAMES[1], HOSTILE))
)
EXAMPLES = (
    EvidenceTable(
        models=(_FULL, _SECOND), contrasts=_CONTRASTS, verdict="told-apart", seed=0, tool=TOOL
    ),
    EvidenceTable(
        models=(_FULL, _SECOND, _UNKNOWN),
        contrasts=_UNDECIDED,
        verdict="not-told-apart",
        seed=3,
        tool=TOOL,
    ),
)
