"""Estimates → units, clusters, findings, verdict. One file per finding family in ``findings/``."""
