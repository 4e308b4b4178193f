"""laplace-torch: the approximation's state, its network's weights as the companion."""

from __future__ import annotations

from typing import Any

from symdiag.formats.interface import Held

priority = 50


def matches(source: Any) -> bool:
    """Whether ``source`` is one of laplace-torch's approximations."""
    own = (cls.__module__.partition(".")[0] for cls in type(source).__mro__)
    return "laplace" in own and hasattr(source, "model") and hasattr(source, "state_dict")


def held(source: Any) -> Held:
    """``state_dict()`` of the approximation and of its model, as their two files hold them."""
    # a last-layer approximation wraps the network to catch its features
    network = getattr(source.model, "model", source.model)
    return Held(source.state_dict(), companion=network.state_dict(), network=network)
