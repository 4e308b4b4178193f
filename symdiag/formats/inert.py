"""Objects a checkpoint may mention but we never create: kept as plain dicts that remember the class's name.

Pyro's and TyXe's parameter stores record each parameter's constraint as an instance of a constraint class. The
class says which transform the values need, so its name matters, but none of its code does. In the tree such an
object is ``{"__class__": "pyro.distributions.constraints._SoftplusPositive", **attributes}``.
"""

from __future__ import annotations

import re
from typing import Any

CLASS_KEY = "__class__"
_CONSTRAINT = re.compile(r"(torch|pyro)\.distributions\.constraints\._?[A-Za-z]+")


class Inert:
    """Stands in for an instance of the class called ``global_name``; holds its state, does nothing."""

    global_name = ""

    def __new__(cls, *_args: object) -> Inert:
        """Accept and ignore the constructor arguments a pickle may give."""
        return super().__new__(cls)

    def __init__(self, *_args: object) -> None:
        self.state: dict[Any, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = dict(state) if isinstance(state, dict) else {}


def is_inert(global_name: str) -> bool:
    """Whether ``global_name`` is a constraint class, the only kind we stand in for."""
    return _CONSTRAINT.fullmatch(global_name) is not None


def stub(global_name: str) -> type[Inert]:
    """A fresh stand-in class for ``global_name``."""
    module, _, name = global_name.rpartition(".")
    return type(name, (Inert,), {"global_name": global_name, "__module__": module})


def to_dict(thing: Inert) -> dict[str, Any]:
    """The tree's plain form of a stand-in."""
    return {
        CLASS_KEY: thing.global_name,
        **{str(k): v for k, v in getattr(thing, "state", {}).items()},
    }


def from_dict(node: dict[str, Any]) -> Inert:
    """The stand-in whose plain form is ``node``."""
    thing = stub(node[CLASS_KEY])()
    thing.state = {name: value for name, value in node.items() if name != CLASS_KEY}
    return thing


def is_inert_dict(node: object) -> bool:
    """Whether ``node`` is the plain form of a stand-in."""
    return (
        isinstance(node, dict)
        and isinstance(node.get(CLASS_KEY), str)
        and is_inert(node[CLASS_KEY])
    )
