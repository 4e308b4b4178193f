"""Real data by the routes of the study: few points, many units, paired splits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmarks.judge.published import shipped
from benchmarks.wide.study import Cell
from symdiag.training.config import ModelConfig
from symdiag.training.data import Dataset

POINTS, TEST_POINTS = 50, 1000
NOISE = 0.3  # of standardised targets: about the RMSE of a good fit
DIGITS_TEST = 1000


def _boston():
    from mlxtend.data import boston_housing_data

    return boston_housing_data()


def _shipped(name: str, **how):
    table = np.loadtxt(shipped(name), **how)
    return table[:, :-1], table[:, -1]


REGRESSIONS: dict[str, Callable] = {
    "boston": _boston,
    "concrete": lambda: _shipped("concrete.data"),
    "airfoil": lambda: _shipped("airfoil.csv", delimiter=",", skiprows=1),
}
DIGITS = {"mnist_500": 500, "mnist_4000": 4000}


@dataclass(frozen=True)
class Split(Cell):
    """A random split of a regression: ``seed`` chooses it, and the start of training."""

    @property
    def model(self) -> ModelConfig:
        """Likelihood and prior."""
        return ModelConfig("gaussian", NOISE, 1.0)

    def data(self) -> tuple[Dataset, Dataset]:
        """50 points to train on, up to 1000 others for the test; standardised by the training points."""
        x, y = REGRESSIONS[self.task]()
        order = np.random.RandomState(self.seed).permutation(len(y))[: POINTS + TEST_POINTS]
        x, y = x[order], y[order]
        center, spread = x[:POINTS].mean(0), x[:POINTS].std(0)
        # a column may be the same in all 50 points
        x = (x - center) / np.where(spread > 0, spread, 1.0)
        y = (y - y[:POINTS].mean()) / y[:POINTS].std()
        return Dataset(x[:POINTS], y[:POINTS]), Dataset(x[POINTS:], y[POINTS:])


@dataclass(frozen=True)
class Digits(Cell):
    """MNIST digits 784-H-10: a random split of the 5000 images that mlxtend ships."""

    outputs: ClassVar[int] = 10

    @property
    def model(self) -> ModelConfig:
        """Likelihood and prior."""
        return ModelConfig("categorical", None, 1.0)

    def data(self) -> tuple[Dataset, Dataset]:
        """1000 images for the test; pixels so scaled that an image has a length of about one."""
        from mlxtend.data import mnist_data

        x, y = mnist_data()
        order = np.random.RandomState(self.seed).permutation(len(y))
        # 9.4: the root mean square length of an image with pixels in [0, 1]
        x, y = x[order] / 255.0 / 9.4, y[order].astype(float)
        train, test = slice(DIGITS_TEST, DIGITS_TEST + DIGITS[self.task]), slice(DIGITS_TEST)
        return Dataset(x[train], y[train]), Dataset(x[test], y[test])
