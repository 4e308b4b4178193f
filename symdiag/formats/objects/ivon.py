"""IVON: (optimizer, model) or (model, optimizer), whose states together are the posterior."""

from __future__ import annotations

import sys
from typing import Any

from symdiag.formats.interface import Held

priority = 50


def matches(source: Any) -> bool:
    """Whether ``source`` is an optimizer that keeps a Hessian, and a module."""
    return isinstance(source, list | tuple) and len(source) == 2 and _parts(source) is not None


def held(source: Any) -> Held:
    """Both state dicts in one, as a training script saves them."""
    parts = _parts(source)
    assert parts is not None
    model, optimizer = parts
    states = {
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
    }
    return Held(states, network=model)


def _parts(source: Any) -> tuple[Any, Any] | None:
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    # in either order: both are seen in scripts
    for model, optimizer in (source, source[::-1]):
        if isinstance(model, torch.nn.Module) and hasattr(optimizer, "param_groups"):
            return model, optimizer
    return None
