"""Alignment costs: one file each, which defines ``COST``; a new file is found by listing this
package.
"""

from __future__ import annotations

import importlib
import pkgutil

from symdiag.alignment.costs._interface import (
    Cost,
    Weights,
    means_and_stds,
    run_means,
    sorted_distances,
    squared_distances,
)
from symdiag.errors import UsageError

__all__ = [
    "Cost",
    "Weights",
    "available_costs",
    "get_cost",
    "means_and_stds",
    "run_means",
    "sorted_distances",
    "squared_distances",
]


def available_costs() -> dict[str, Cost]:
    """Every cost in ``symdiag.alignment.costs``, by name."""
    listed = (info.name for info in pkgutil.iter_modules(__path__))
    names = sorted(name for name in listed if not name.startswith("_"))
    found: list[Cost] = [importlib.import_module(f"{__name__}.{name}").COST for name in names]
    return {cost.name: cost for cost in found}


def get_cost(name: str) -> Cost:
    """The cost called ``name``; UsageError listing the known ones if there is none."""
    costs = available_costs()
    if name not in costs:
        raise UsageError(
            f"unknown alignment cost {name!r}", hint=f"choose one of: {', '.join(costs)}"
        )
    return costs[name]
