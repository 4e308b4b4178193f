"""A torch module, Bayesian or not: its state dict, and itself as the network."""

from __future__ import annotations

import sys
from typing import Any

from symdiag.formats.interface import Held

priority = 0


def matches(source: Any) -> bool:
    """Whether ``source`` is a torch.nn.Module."""
    # a module cannot exist where torch was not imported
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.nn.Module)


def held(source: Any) -> Held:
    """The state dict."""
    return Held(source.state_dict(), network=source)
