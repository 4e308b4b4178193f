"""Pyro: an autoguide or the parameter store, in the store's own form, which keeps constraints."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from typing import Any

from symdiag.formats.interface import Held

priority = 50


def matches(source: Any) -> bool:
    """Whether ``source`` is a guide or a parameter store."""
    return _is_guide(source) or type(source).__name__ == "ParamStoreDict"


def held(source: Any) -> Held:
    """The store's state; of a guide, its part of it, else the guide's state dict."""
    if not _is_guide(source):
        return Held(source.get_state())
    state = _own_state(source)
    shapes = getattr(source, "_unconstrained_shapes", None)
    return Held(
        source.state_dict() if state is None else state,
        network=_module_in(getattr(source, "model", None)),
        shapes=None if shapes is None else {name: tuple(shape) for name, shape in shapes.items()},
    )


def _is_guide(source: Any) -> bool:
    return any(cls.__module__.startswith("pyro.infer.autoguide") for cls in type(source).__mro__)


def _module_in(model: Any) -> Any:
    """The module that a guide guides: Pyro wraps it in partials; None where it is a function."""
    if isinstance(model, functools.partial):
        inner = (_module_in(part) for part in (model.func, *model.args))
        return next((module for module in inner if module is not None), None)
    return model if isinstance(model, sys.modules["torch"].nn.Module) else None


def _own_state(guide: Any) -> Mapping[str, Any] | None:
    """What the store holds of ``guide``; None where its parameters are not there (module-local)."""
    state = sys.modules["pyro"].get_param_store().get_state()
    # by identity: the store may hold other guides of the same name, and older parameters of this one
    mine = {id(parameter) for parameter in guide.parameters()}
    own = {name for name, value in state["params"].items() if id(value) in mine}
    if not own or len(own) != len(mine):
        return None
    return {
        part: {name: value for name, value in values.items() if name in own}
        for part, values in state.items()
    }
