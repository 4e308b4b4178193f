"""Alignment of posteriors and of weight draws: costs, search, certificates, and what a match says."""

from symdiag.alignment.align import Alignment, align, move_posterior
from symdiag.alignment.certificate import Certificate, Matches
from symdiag.alignment.chance import (
    Chance,
    chance_of_draws,
    chance_of_pair,
    chance_of_universe,
    relabelled_share,
)
from symdiag.alignment.comparison import (
    FunctionGap,
    LogLikelihood,
    StraightPath,
    closeness,
    draw,
    function_gap,
    judge,
    path_between,
    path_noise,
)
from symdiag.alignment.costs import available_costs, get_cost
from symdiag.alignment.samples import SampleAlignment, align_samples, relabelled
from symdiag.alignment.universe import Spread, Universe, align_many

__all__ = [
    "Alignment",
    "Certificate",
    "Chance",
    "FunctionGap",
    "LogLikelihood",
    "Matches",
    "SampleAlignment",
    "Spread",
    "StraightPath",
    "Universe",
    "align",
    "align_many",
    "align_samples",
    "available_costs",
    "chance_of_draws",
    "chance_of_pair",
    "chance_of_universe",
    "closeness",
    "draw",
    "function_gap",
    "get_cost",
    "judge",
    "move_posterior",
    "path_between",
    "path_noise",
    "relabelled",
    "relabelled_share",
]
