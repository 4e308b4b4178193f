"""log perm of batches of matrices: exact values, estimates, bounds and marginals. Knows matrices
only, no networks.

``log_permanent`` plans; ``bounds/`` and ``estimators/`` hold one file per deterministic bound and
per estimator. Importing this package compiles nothing and stays clear of torch.
"""

from symdiag.permanents.blocks import BlockStructure, block_structure
from symdiag.permanents.bounds.bethe import bethe_functional
from symdiag.permanents.estimators.row_smc import sampling_steps
from symdiag.permanents.exact import (
    SMALL,
    exact_log_permanent,
    exact_marginals,
    small_log_permanents,
)
from symdiag.permanents.gaussian_swaps import (
    GaussianSlots,
    SwapMoments,
    default_proposals,
    partner_table,
    swap_moments,
)
from symdiag.permanents.marginal import marginals
from symdiag.permanents.planner import log_permanent
from symdiag.permanents.results import DEFAULT, Effort, LogPermanent, Marginals
from symdiag.permanents.scaling import best_assignment
from symdiag.permanents.smc import (
    assignment_log_prob,
    sample_assignments,
    typical_log_permanents,
)
from symdiag.permanents.swaps import Chain, swap_chain, swap_marginals

__all__ = [
    "DEFAULT",
    "SMALL",
    "BlockStructure",
    "Chain",
    "Effort",
    "GaussianSlots",
    "LogPermanent",
    "Marginals",
    "SwapMoments",
    "assignment_log_prob",
    "best_assignment",
    "bethe_functional",
    "block_structure",
    "default_proposals",
    "exact_log_permanent",
    "exact_marginals",
    "log_permanent",
    "marginals",
    "partner_table",
    "sample_assignments",
    "sampling_steps",
    "small_log_permanents",
    "swap_chain",
    "swap_marginals",
    "swap_moments",
    "typical_log_permanents",
]
