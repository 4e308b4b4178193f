"""Accuracy against time of the straddling-entropy estimators: ``python -m benchmarks.estimators``."""
