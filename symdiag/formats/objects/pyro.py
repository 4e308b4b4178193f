"""Pyro: an autoguide or the parameter store, in the store's own form, which keeps constraints."""

from __future__ import annotations

import functools
import sys
from typing import Any

from symdiag.formats.interface import Held

priority = 50


def matches(source: Any) -> bool:
    """Whether ``source`` is a guide, a Predictive with one, or a parameter store."""
    return _is_guide(_guide_in(source)) or type(source).__name__ == "ParamStoreDict"


def held(source: Any) -> Held:
    """The store's state; of a guide, its part of it, else the guide's state dict."""
    guide = _guide_in(source)
    if not _is_guide(guide):
        return Held(source.get_state())
    own = _own_names(guide)
    shapes = getattr(guide, "_unconstrained_shapes", None)
    network = _module_in(getattr(guide, "model", None))
    known = None if shapes is None else {name: tuple(shape) for name, shape in shapes.items()}
    if own is None:
        return Held(guide.state_dict(), network=network, shapes=known)

    def back(state: Any) -> dict[str, Any]:
        renamed = {own[name]: value for name, value in state["params"].items()}
        return {**guide.state_dict(), **renamed}

    # the store's form says what constrains a scale; the guide's own state dict does not
    state = {
        part: {name: value for name, value in values.items() if name in own}
        for part, values in sys.modules["pyro"].get_param_store().get_state().items()
    }
    return Held(state, network=network, shapes=known, back=back)


def _guide_in(source: Any) -> Any:
    """``source``, or the guide of a Predictive."""
    return source.guide if type(source).__name__ == "Predictive" else source


def _is_guide(source: Any) -> bool:
    return any(cls.__module__.startswith("pyro.infer.autoguide") for cls in type(source).__mro__)


def _module_in(model: Any) -> Any:
    """The module that a guide guides: Pyro wraps it in partials; None where it is a function."""
    if isinstance(model, functools.partial):
        inner = (_module_in(part) for part in (model.func, *model.args))
        return next((module for module in inner if module is not None), None)
    return model if isinstance(model, sys.modules["torch"].nn.Module) else None


def _own_names(guide: Any) -> dict[str, str] | None:
    """The store's name of each parameter of ``guide`` → the guide's; None where it has none there.

    By identity: the store may hold other guides of the same name, and older parameters of this one.
    """
    mine = {id(parameter): name for name, parameter in guide.named_parameters()}
    params = sys.modules["pyro"].get_param_store().get_state()["params"]
    own = {name: mine[id(value)] for name, value in params.items() if id(value) in mine}
    return own if own and len(own) == len(mine) else None
