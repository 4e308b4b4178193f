"""The state dict in what a training script saved: found among wrappers and optimisers, its names
tidied.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from symdiag.arrays import Arrays
from symdiag.formats.interface import Tree
from symdiag.formats.tree import Path, at, dotted, walk
from symdiag.posterior import Ignored

WRAPPERS = (
    "guide",
    "guide_state_dict",
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "net",
    "network",
    "params",
    "weights",
)
"""Keys of the state dict in training checkpoints, the likelier first (a guide is its model's
posterior).
"""

STRIPPED = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""Prefixes that DataParallel, torch.compile and Lightning modules put before every name."""

_NOT_MODEL = re.compile(
    r"optim|sched|scaler|callback|loop|hyper_?param|history|metric|\bema\b|rng|sampler_state", re.I
)


@dataclass(frozen=True)
class StateDict:
    """The chosen state dict, flat: dotted key → array, and where in the tree each came from."""

    arrays: Arrays
    paths: Mapping[str, Path]
    ignored: tuple[Ignored, ...] = ()


def find_state_dict(tree: Tree) -> StateDict:
    """The weights in ``tree``: wrapper keys are followed, training states left out and listed."""
    root = state_dict_path(tree)
    paths: dict[str, Path] = {}
    ignored: list[Ignored] = []
    for path, leaf in walk(tree):
        tail = path[len(root) :]
        # compared part by part: as dotted text, `model` would be a prefix of `model2`
        inside = path[: len(root)] == root
        if inside and isinstance(leaf, np.ndarray) and not _in_training_state(tail):
            paths[dotted(tail)] = path
        else:
            ignored.append(Ignored(dotted(path), _reason(inside, path, leaf)))
    return StateDict({key: at(tree, path) for key, path in paths.items()}, paths, _grouped(ignored))


def _in_training_state(tail: Path) -> bool:
    """Whether a branch on the way to the leaf is an optimiser's or the like.

    The leaf's own name does not count, nor do dotted keys: those are tensors of a model whose
    modules may be called anything.
    """
    return any(is_training_state(part) for part in tail[:-1])


def is_training_state(part: object) -> bool:
    """Whether an entry of this name holds an optimiser's state or the like."""
    return isinstance(part, str) and "." not in part and _NOT_MODEL.search(part) is not None


def state_dict_path(tree: Tree, path: Path = ()) -> Path:
    """Where wrapper keys lead from ``path``, followed as long as they lead to a dict with arrays."""
    node = at(tree, path)
    # matrices at this level: it is a state dict, whatever else is called `model` in it; vectors
    # may be the mean and std of the inputs
    if not isinstance(node, Mapping) or any(
        isinstance(v, np.ndarray) and v.ndim > 1 for v in node.values()
    ):
        return path
    # in order of likelihood: a checkpoint with a guide keeps the network it was built on, too
    for key in WRAPPERS:
        child = node.get(key)
        if isinstance(child, Mapping) and any(isinstance(v, np.ndarray) for _, v in walk(child)):
            return state_dict_path(tree, (*path, key))
    return path


def _reason(inside: bool, path: Path, leaf: Any) -> str:
    """Why a leaf is no part of the state dict."""
    if inside and not isinstance(leaf, np.ndarray):
        return "not an array"
    # any part here, as this only words a reason; whether it is read was decided above
    if any(isinstance(part, str) and _NOT_MODEL.search(part) for part in path):
        return "training state, not a weight"
    return "outside the state dict" if isinstance(leaf, np.ndarray) else "not an array"


def _grouped(ignored: Iterable[Ignored]) -> tuple[Ignored, ...]:
    """One entry per top-level branch and reason: an optimiser's hundred tensors are one line."""
    groups: dict[tuple[str, str], list[str]] = {}
    for item in ignored:
        groups.setdefault((item.key.split(".")[0], item.reason), []).append(item.key)
    return tuple(
        Ignored(keys[0] if len(keys) == 1 else f"{head}.* ({len(keys)} entries)", reason)
        for (head, reason), keys in groups.items()
    )


def common_prefix(names: Iterable[str]) -> str:
    """The wrapper prefix (or several in a row) that all ``names`` share and none needs to tell
    layers apart.
    """
    rest = list(names)
    prefix = ""
    # wrappers nest: DataParallel around a compiled module gives module._orig_mod. to every name
    while rest:
        step = next(
            (p for p in STRIPPED if all(n.startswith(p) and "." in n[len(p) :] for n in rest)), None
        )
        if step is None:
            break
        prefix += step
        rest = [name[len(step) :] for name in rest]
    return prefix


_WORDS = {
    "W": "weight",
    "w": "weight",
    "kernel": "weight",
    "weights": "weight",
    "b": "bias",
    "B": "bias",
}
_NUMBERED = re.compile(r"^(weights?|kernel|bias|[wWbB])_?\d+$")
# "in_proj_weight" of an attention layer is one name, no layer called "in_proj"
_JOINED = re.compile(r"^(.+)(?<!proj)_(weights?|kernel|bias|[wWbB])$")


def tidy(base: str) -> str:
    """A tensor's name as the rest of symdiag expects it: ``fc1.W`` → ``fc1.weight``.

    ``fc1_b`` becomes ``fc1.bias``; anything else is kept, ``w1`` too: a name without a layer's is
    the user's own.
    """
    # Pyro puts $$$ between a random module's name and its parameter's
    layer, dot, leaf = base.replace("$$$", ".").rpartition(".")
    if match := _JOINED.match(leaf):
        layer, dot, leaf = f"{layer}{dot}{match[1]}", ".", match[2]
    return f"{layer}{dot}{_WORDS.get(leaf, leaf)}"


def is_weight_like(base: str) -> bool:
    """Whether a name is one people give to weights and biases."""
    leaf = tidy(base).rpartition(".")[2]
    return leaf in ("weight", "bias") or _NUMBERED.match(leaf) is not None


def is_matrix(array: np.ndarray) -> bool:
    """Whether an array has more than one row or column: no vector, however it is laid out."""
    return array.ndim > 1 and array.size > max(array.shape)
