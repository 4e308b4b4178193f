"""Real data by the routes of the study: few points, many units, paired splits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.wide.study import Cell
from symdiag.training.config import ModelConfig
from symdiag.training.data import Dataset

POINTS = 50
NOISE = 0.3  # of standardised targets: about the RMSE of a good fit


@dataclass(frozen=True)
class Split(Cell):
    """A random split of Boston housing: ``seed`` chooses it, and the start of training."""

    @property
    def model(self) -> ModelConfig:
        """Likelihood and prior."""
        return ModelConfig("gaussian", NOISE, 1.0)

    def data(self) -> tuple[Dataset, Dataset]:
        """50 points to train on, all others for the test; both standardised by the training points."""
        from mlxtend.data import boston_housing_data

        x, y = boston_housing_data()
        order = np.random.RandomState(self.seed).permutation(len(y))
        x, y = x[order], y[order]
        center, spread = x[:POINTS].mean(0), x[:POINTS].std(0)
        # a column may be the same in all 50 points
        x = (x - center) / np.where(spread > 0, spread, 1.0)
        y = (y - y[:POINTS].mean()) / y[:POINTS].std()
        return Dataset(x[:POINTS], y[:POINTS]), Dataset(x[POINTS:], y[POINTS:])
