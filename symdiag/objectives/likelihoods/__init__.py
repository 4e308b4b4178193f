"""Likelihoods p(y | f): one file each, found by listing this package's modules."""

from symdiag.objectives.likelihoods.interface import (
    Likelihood,
    Scores,
    find_likelihood,
    likelihood_names,
)

__all__ = ["Likelihood", "Scores", "find_likelihood", "likelihood_names"]
