"""What the constraint objects of a Pyro parameter store say about the unconstrained values beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from symdiag.errors import UnsupportedError
from symdiag.formats.interface import Tree
from symdiag.formats.state_dict import Path
from symdiag.formats.transforms import EXP, SOFTPLUS, Transform, interval, shifted_exp


def constraint_of(tree: Tree, path: Path) -> Mapping[str, Any] | None:
    """The constraint that a store keeps for the parameter at ``path`` (…, "params", name); None if there is none."""
    if len(path) < 2 or path[-2] != "params":
        return None
    node = tree
    for part in path[:-2]:
        node = node[part]
    found = node.get("constraints", {}) if isinstance(node, Mapping) else {}
    constraint = found.get(path[-1]) if isinstance(found, Mapping) else None
    return constraint if isinstance(constraint, Mapping) and "__class__" in constraint else None


def stored_transform(tree: Tree, path: Path) -> Transform | None:
    """What a store's constraint says of the scale at ``path``; None outside a store, and for any real (a log, a rho).

    A store holds unconstrained values under the names of constrained ones: ``w_scale`` is log or softplus^-1 of a std.
    """
    constraint = constraint_of(tree, path)
    if constraint is None or str(constraint["__class__"]).endswith("._Real"):
        return None
    return transform_of(constraint)


def transform_of(constraint: Mapping[str, Any]) -> Transform:
    """The transform from unconstrained value to std that PyTorch and Pyro register for a constraint.

    Raises:
        UnsupportedError: ``unknown-constraint``.
    """
    kind = str(constraint["__class__"]).rsplit(".", 1)[-1]
    if kind == "_SoftplusPositive":
        return SOFTPLUS
    if kind in ("_GreaterThan", "_GreaterThanEq"):
        lower = _number(constraint.get("lower_bound", 0.0))
        return EXP if lower == 0.0 else shifted_exp(lower)
    if kind in ("_Interval", "_HalfOpenInterval"):
        return interval(_number(constraint["lower_bound"]), _number(constraint["upper_bound"]))
    raise UnsupportedError(
        f"a scale with the constraint {kind} is not known",
        code="unknown-constraint",
        hint="name the transform with --scale-transform, if it is one of those",
    )


def _number(value: Any) -> float:
    return float(np.asarray(value))
