"""log perm of batches of matrices: exact values, estimates, bounds and marginals. Knows matrices only, no networks.

Importing this package compiles nothing; torch is imported by ``symdiag.permanents.autograd`` only.
"""

from symdiag.permanents.blocks import BlockStructure, block_structure
from symdiag.permanents.marginal import marginals
from symdiag.permanents.mcmc import Chain, swap_mcmc
from symdiag.permanents.planner import log_permanent
from symdiag.permanents.results import DEFAULT, Effort, LogPermanent, Marginals
from symdiag.permanents.smc import assignment_log_prob, sample_assignments

__all__ = [
    "DEFAULT",
    "BlockStructure",
    "Chain",
    "Effort",
    "LogPermanent",
    "Marginals",
    "assignment_log_prob",
    "block_structure",
    "log_permanent",
    "marginals",
    "sample_assignments",
    "swap_mcmc",
]
