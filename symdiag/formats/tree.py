"""Walking a checkpoint's tree: flat keys and leaves, with caps on depth and size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from symdiag.errors import LimitError
from symdiag.formats.inert import Inert
from symdiag.formats.interface import Tree
from symdiag.formats.limits import DEFAULT, Limits

SEPARATOR = "."


def leaves(tree: Any, *, limits: Limits = DEFAULT) -> Iterator[tuple[str, Any]]:
    """Flat key (path components joined by dots) and value of every leaf, in the tree's order.

    A file can build a small graph that unfolds without end, hence the caps.

    Raises:
        LimitError: nested too deeply, or too many nodes.
    """
    seen = 0
    stack: list[tuple[str | None, Any, int]] = [(None, tree, 0)]
    while stack:
        key, node, depth = stack.pop()
        seen += 1
        if seen > limits.max_nodes or depth > limits.max_depth:
            raise LimitError(
                f"contents nest deeper than {limits.max_depth} levels or hold more than {limits.max_nodes} entries",
                hint="Save only the state dict.",
            )
        children = _children(node)
        if children is None:
            yield key or "", node
        else:
            stack.extend((_join(key, name), child, depth + 1) for name, child in reversed(children))


def mapped(tree: Tree, change: Callable[[str, Any], Any], key: str | None = None) -> Tree:
    """``tree`` with every leaf replaced by ``change(flat_key, leaf)``. Bound the depth with `leaves` first."""
    if isinstance(tree, dict):
        return {name: mapped(child, change, _join(key, name)) for name, child in tree.items()}
    if isinstance(tree, (list, tuple)):
        items = [mapped(child, change, _join(key, index)) for index, child in enumerate(tree)]
        return items if isinstance(tree, list) else tuple(items)
    return change(key or "", tree)


def _children(node: Any) -> list[tuple[Any, Any]] | None:
    """The named children of an inner node; None for a leaf."""
    if isinstance(node, Inert):
        return list(node.state.items())
    if isinstance(node, dict):
        return list(node.items())
    return list(enumerate(node)) if isinstance(node, (list, tuple)) else None


def _join(prefix: str | None, name: object) -> str:
    """One more component on a flat key."""
    return str(name) if prefix is None else f"{prefix}{SEPARATOR}{name}"
