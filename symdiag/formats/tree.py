"""Walking a checkpoint's tree of nested dicts and lists: paths, leaves, and copies with leaves
exchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from symdiag.errors import LimitError
from symdiag.formats.interface import Tree
from symdiag.formats.limits import DEFAULT, Limits

Path: TypeAlias = tuple[Any, ...]
"""Keys and list indices from the root of a tree."""


def dotted(path: Path) -> str:
    """A path as one dotted key.

    Two paths may give the same key: a state dict's own keys hold dots.
    """
    return ".".join(str(part) for part in path)


def walk(tree: Tree, *, limits: Limits = DEFAULT) -> Iterator[tuple[Path, Any]]:
    """Every leaf with its path, depth first, in file order. An empty dict or list has no leaf.

    Raises:
        LimitError: nested too deeply, or too many nodes.
    """
    # A pickle can share one list among many parents: a small graph then unfolds into a tree
    # without end, hence the caps, and hence a stack of our own instead of recursion.
    seen = 0
    stack: list[tuple[Path, Any]] = [((), tree)]
    while stack:
        path, node = stack.pop()
        seen += 1
        if seen > limits.max_nodes or len(path) > limits.max_depth:
            raise LimitError(
                f"contents nest deeper than {limits.max_depth} levels or hold more than "
                f"{limits.max_nodes} entries",
                hint="Save only the state dict.",
            )
        # arrays are leaves, although they could be iterated over
        children = _children(node)
        if children is None:
            yield path, node
        else:  # reversed, because the stack gives back last what was put first
            stack.extend(((*path, name), child) for name, child in reversed(children))


def leaves(tree: Tree, *, limits: Limits = DEFAULT) -> Iterator[tuple[str, Any]]:
    """As `walk`, with dotted keys in the place of paths."""
    return ((dotted(path), leaf) for path, leaf in walk(tree, limits=limits))


def _children(node: Any) -> list[tuple[Any, Any]] | None:
    """The named children of an inner node; None for a leaf."""
    if isinstance(node, Mapping):
        return list(node.items())
    return list(enumerate(node)) if isinstance(node, list | tuple) else None


def at(tree: Tree, path: Path) -> Any:
    """The node at ``path``. Raises KeyError or IndexError when there is none."""
    for part in path:
        tree = tree[part]
    return tree


def mapped(tree: Tree, change: Callable[[str, Any], Any], path: Path = ()) -> Tree:
    """``tree`` with every leaf replaced by ``change(dotted_key, leaf)``.

    Bound the depth with `walk` first.
    """
    if isinstance(tree, dict):
        return {name: mapped(child, change, (*path, name)) for name, child in tree.items()}
    if isinstance(tree, list | tuple):
        items = [mapped(child, change, (*path, index)) for index, child in enumerate(tree)]
        return items if isinstance(tree, list) else tuple(items)
    return change(dotted(path), tree)


def replaced(tree: Tree, changes: Mapping[Path, Any], path: Path = ()) -> Tree:
    """``tree`` with the nodes named in ``changes`` exchanged; containers are copied, other leaves
    shared.
    """
    if path in changes:
        return changes[path]
    if isinstance(tree, Mapping):
        # an OrderedDict stays one: torch.save tells it from a dict
        items = ((key, replaced(value, changes, (*path, key))) for key, value in tree.items())
        return type(tree)(items) if isinstance(tree, dict) else dict(items)
    if isinstance(tree, list | tuple):
        values = [replaced(value, changes, (*path, i)) for i, value in enumerate(tree)]
        return tuple(values) if isinstance(tree, tuple) else values
    return tree
