"""Find the state dict in what a training script saved: wrappers, optimiser states and prefixes around it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from symdiag.formats.interface import Tree
from symdiag.posterior import Ignored

Path: TypeAlias = tuple[Any, ...]
"""Keys and list indices from the root of a tree."""

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
"""Keys under which training scripts put the state dict, the likelier first (a Pyro guide is its model's posterior)."""

STRIPPED = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""Prefixes that wrappers (DataParallel, torch.compile, Lightning modules) put before every name."""

_NOT_MODEL = re.compile(
    r"optim|sched|scaler|callback|loop|hyper_?param|history|metric|\bema\b|rng|sampler_state", re.I
)


@dataclass(frozen=True)
class StateDict:
    """The chosen state dict, flat: dotted key → array, and where in the tree each came from."""

    arrays: Mapping[str, NDArray[Any]]
    paths: Mapping[str, Path]
    ignored: tuple[Ignored, ...] = ()


def dotted(path: Path) -> str:
    """A path as one dotted key."""
    return ".".join(str(part) for part in path)


def walk(tree: Tree, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every leaf with its path, depth first, in file order."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from walk(value, (*path, key))
    elif isinstance(tree, list | tuple):
        for index, value in enumerate(tree):
            yield from walk(value, (*path, index))
    else:
        yield path, tree


def at(tree: Tree, path: Path) -> Any:
    """The node at ``path``. Raises KeyError or IndexError when there is none."""
    for part in path:
        tree = tree[part]
    return tree


def replaced(tree: Tree, changes: Mapping[Path, Any], path: Path = ()) -> Tree:
    """The tree with the leaves named in ``changes`` exchanged; containers are copied, other leaves shared."""
    if path in changes:
        return changes[path]
    if isinstance(tree, Mapping):
        items = ((key, replaced(value, changes, (*path, key))) for key, value in tree.items())
        return type(tree)(items) if isinstance(tree, dict) else dict(items)
    if isinstance(tree, list | tuple):
        values = [replaced(value, changes, (*path, i)) for i, value in enumerate(tree)]
        return tuple(values) if isinstance(tree, tuple) else values
    return tree


def find_state_dict(tree: Tree) -> StateDict:
    """The weights in ``tree``: wrapper keys are followed, optimiser and scheduler states left out and listed."""
    root = _descend(tree, ())
    arrays: dict[str, NDArray[Any]] = {}
    paths: dict[str, Path] = {}
    ignored: list[Ignored] = []
    for path, leaf in walk(tree):
        inside = path[: len(root)] == root
        tail = path[len(root) :]
        if inside and isinstance(leaf, np.ndarray) and not _foreign(tail):
            arrays[dotted(tail)] = leaf
            paths[dotted(tail)] = path
        else:
            ignored.append(Ignored(dotted(path), _reason(path, root, leaf)))
    return StateDict(arrays, paths, _grouped(ignored))


def _foreign(tail: Path) -> bool:
    """Whether a branch on the way to the leaf is an optimiser's or the like (the leaf's own name does not count)."""
    return any(
        isinstance(part, str) and "." not in part and _NOT_MODEL.search(part) for part in tail[:-1]
    )


def _descend(tree: Tree, path: Path) -> Path:
    """Follow wrapper keys as long as they lead to a dict that holds arrays."""
    node = at(tree, path)
    if not isinstance(node, Mapping) or any(
        isinstance(v, np.ndarray) and v.ndim for v in node.values()
    ):
        return path
    for key in WRAPPERS:
        child = node.get(key)
        if isinstance(child, Mapping) and any(
            isinstance(leaf, np.ndarray) for _, leaf in walk(child)
        ):
            return _descend(tree, (*path, key))
    return path


def _reason(path: Path, root: Path, leaf: Any) -> str:
    if path[: len(root)] == root and not isinstance(leaf, np.ndarray):
        return "not an array"
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
    """The wrapper prefix (possibly several in a row) that all ``names`` share and none needs to tell layers apart."""
    rest = list(names)
    prefix = ""
    while rest:
        step = next(
            (p for p in STRIPPED if all(n.startswith(p) and "." in n[len(p) :] for n in rest)), None
        )
        if step is None:
            break
        prefix += step
        rest = [name[len(step) :] for name in rest]
    return prefix
