"""Modules whose names say what they are: recurrent stacks become layers; what a file cannot determine is refused."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from symdiag.errors import UnsupportedError
from symdiag.network.naming import Module
from symdiag.posterior import Posterior

ASK = "describe the network with --model package.module:factory or --spec spec.toml"

_PROJECTION = re.compile(
    r"^(?:w_?|to_?|lin_?|fc_?)?(q|k|v)(?:uery|ey|alue)?(?:_?(?:proj|lin|linear|fc))?$",
    re.IGNORECASE,
)
_LEVEL = re.compile(r"^(weight|bias)_(ih|hh)(?:_l(\d+))?$")
_ROLES = {
    "weight_ih": "weight",
    "bias_ih": "bias",
    "weight_hh": "recurrent",
    "bias_hh": "recurrent_bias",
}


def refuse_tied(posterior: Posterior) -> None:
    """Raise UnsupportedError ``undetermined-architecture`` for tied tensors: they make the net no plain chain."""
    names = (
        posterior.source.tied[0]
        if posterior.source is not None and posterior.source.tied
        else _copies(posterior)
    )
    if names:
        raise UnsupportedError(
            f"{', '.join(names)} are one tensor, which ties groups of units in a way that a file cannot show",
            code="undetermined-architecture",
            hint=ASK,
        )


def _copies(posterior: Posterior) -> tuple[str, ...]:
    """Two weights that agree in every mean and std: containers without sharing store a tied tensor twice."""
    seen: dict[bytes, str] = {}
    for name, loc in posterior.loc.items():
        if loc.ndim < 2 or loc.size < 2 or (loc == loc.flat[0]).all():
            continue
        digest = hashlib.blake2b(str(loc.shape).encode())
        for array in (loc, posterior.scale[name]):
            digest.update(np.ascontiguousarray(array).data)
        known = seen.setdefault(digest.digest(), name)
        if known != name:
            return known, name
    return ()


def determined(modules: Sequence[Module]) -> list[Module]:
    """Modules with recurrent ones split into one per level, roles ``weight``, ``recurrent`` and their biases.

    Raises:
        UnsupportedError: ``undetermined-architecture`` for attention, bidirectional and projected recurrent layers.
    """
    result: list[Module] = []
    _refuse_projections(modules)
    for module in _merge_halves(modules):
        _refuse(module)
        result += (
            _levels(module) if any(_LEVEL.match(role) for role in module.tensors) else [module]
        )
    return result


def _refuse_projections(modules: Sequence[Module]) -> None:
    """Attention written by hand: linear layers q, k and v (or query, key, value) side by side in one module."""
    found: dict[str, set[str]] = {}
    for module in modules:
        parent, _, last = module.name.rpartition(".")
        match = _PROJECTION.match(last)
        if match:
            found.setdefault(parent, set()).add(match[1].lower())
            if len(found[parent]) == len("qkv"):
                where = parent or "the network"
                message = f"{where} holds attention (q, k and v): a file says neither its heads nor its skip connections"
                raise UnsupportedError(message, code="undetermined-architecture", hint=ASK)


def _refuse(module: Module) -> None:
    """Attention, and recurrent layers that run both ways or project, are not determined by their tensors."""
    why = ""
    if any(role.startswith("in_proj") or role.endswith("_proj_weight") for role in module.tensors):
        why = "holds multi-head attention: a file says neither how many heads it has nor where its skip connections run"
    if any(role.endswith("_reverse") or role.startswith("weight_hr") for role in module.tensors):
        why = "is a bidirectional or projected recurrent layer, which shapes alone do not place in the network"
    if why:
        raise UnsupportedError(f"{module.name} {why}", code="undetermined-architecture", hint=ASK)


def _levels(module: Module) -> list[Module]:
    """``lstm`` with ``weight_ih_l0 ... bias_hh_l1`` → ``lstm.l0``, ``lstm.l1``; a single level keeps the name."""
    levels: dict[int, dict[str, str]] = {}
    for role, name in module.tensors.items():
        match = _LEVEL.match(role)
        if match:
            levels.setdefault(int(match[3] or 0), {})[_ROLES[f"{match[1]}_{match[2]}"]] = name
        else:  # one bias for both halves
            levels.setdefault(0, {})[role] = name
    single = len(levels) == 1
    return [
        Module(module.name if single else f"{module.name}.l{k}", levels[k]) for k in sorted(levels)
    ]


def _merge_halves(modules: Sequence[Module]) -> list[Module]:
    """Modules ``X.ih`` and ``X.hh`` (bayesian-torch's LSTM) are the two halves of ``X``."""
    halves = {module.name: module for module in modules if re.search(r"\.(ih|hh)$", module.name)}
    result: list[Module] = []
    for module in modules:
        stem, _, half = module.name.rpartition(".")
        pair = halves.get(f"{stem}.ih"), halves.get(f"{stem}.hh")
        if module.name not in halves or None in pair:
            result.append(module)
        elif half == "ih":
            tensors = {
                f"{role}_{h}": name
                for h in ("ih", "hh")
                for role, name in halves[f"{stem}.{h}"].tensors.items()
            }
            result.append(Module(stem, tensors))
    return result
