"""Several posteriors in one file: which there are, and the one that is meant.

A list of checkpoints holds one in each entry. A Pyro parameter store keeps whatever guides a
session made: the one trained last and those left over from earlier runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from symdiag.arrays import Arrays
from symdiag.errors import UnsupportedError, UsageError, listed, shown
from symdiag.formats.interface import RawCheckpoint, Tree
from symdiag.formats.state_dict import find_state_dict, is_weight_like, state_dict_path
from symdiag.formats.tree import Path, at, dotted, walk

_LOC = re.compile(r"^(?P<prefix>(?:.*\.)?)loc(?P<end>_unconstrained)?$")
_SITES = re.compile(r"^(?P<prefix>(?:.*\.)?)locs\.(?P<site>.+)$")
_GUIDE = re.compile(r"^(?P<prefix>net_guide\.)")


@dataclass(frozen=True)
class FlatGuide:
    """Keys of a guide over one flat vector; None for those it lacks."""

    prefix: str
    loc: str
    scale: str | None
    factor: str | None
    tril: str | None

    @property
    def keys(self) -> tuple[str, ...]:
        """Those it has."""
        found = (self.loc, self.scale, self.factor, self.tril)
        return tuple(key for key in found if key is not None)


@dataclass(frozen=True)
class Member:
    """One of several posteriors: its name, what it is, and where.

    Either everything under ``path``, or, of the file's state dict, all but ``others``: the keys
    that belong to other members.
    """

    name: str
    what: str
    path: Path = ()
    others: frozenset[str] = frozenset()


def members(
    raw: RawCheckpoint, is_posterior: Callable[[RawCheckpoint], bool]
) -> tuple[Member, ...]:
    """The posteriors of a file that holds several, in its order; nothing for any other file.

    Args:
        raw: the file.
        is_posterior: whether a part of the file, taken alone, is one.
    """
    return _entries(raw, is_posterior) or _guides(find_state_dict(raw.tree).arrays)


def chosen(found: tuple[Member, ...], name: str | None) -> Member | None:
    """The member called ``name``; None where the file holds one posterior only.

    Raises:
        UnsupportedError: ``several-posteriors`` when there are several and no name is given.
        UsageError: ``unknown-member`` for a name that none has.
    """
    names = [member.name for member in found]
    # never the first or the last of several: which one was meant is not in the file
    if name is None:
        if not found:
            return None
        raise UnsupportedError(
            f"the file holds {len(found)} posteriors: "
            + listed((f"{member.name} ({member.what})" for member in found), limit=6),
            code="several-posteriors",
            hint="say which with " + " or ".join(f"--member {shown(name)}" for name in names[:3]),
        )
    for member in found:
        if member.name == name:
            return member
    there = f"it holds {listed(names, limit=12)}" if found else "it holds one posterior only"
    raise UsageError(
        f"the file has no member {shown(name)}; {there}",
        code="unknown-member",
        hint=f"give --member {shown(names[0])}" if found else "leave --member out",
    )


def part(raw: RawCheckpoint, path: Path) -> RawCheckpoint:
    """The part of ``raw`` under ``path``, as if it were the whole file."""
    prefix = dotted(path) + "."

    def inside(keys: Iterable[str]) -> tuple[str, ...]:
        return tuple(key.removeprefix(prefix) for key in keys if key.startswith(prefix))

    # members may share storage; within one of them that ties nothing
    tied = (inside(group) for group in raw.tied)
    return replace(
        raw,
        tree=at(raw.tree, path),
        foreign_dtypes={
            key.removeprefix(prefix): dtype
            for key, dtype in raw.foreign_dtypes.items()
            if key.startswith(prefix)
        },
        tied=tuple(group for group in tied if len(group) > 1),
        modules={
            key.removeprefix(dotted(path)).removeprefix("."): module
            for key, module in raw.modules.items()
            if key == dotted(path) or key.startswith(prefix)
        },
    )


def _entries(
    raw: RawCheckpoint, is_posterior: Callable[[RawCheckpoint], bool]
) -> tuple[Member, ...]:
    """Members of a list, or of a dict whose entries hold the same tensors, each a posterior."""
    for path, node in _places(raw.tree):
        # entries go by their key or number
        named = dict(node) if isinstance(node, Mapping) else dict(enumerate(node))
        shapes = {key: _shapes(entry) for key, entry in named.items()}
        if len(named) < 2 or not all(_is_whole(found) for found in shapes.values()):
            continue
        # entries of a dict may be parts of one network (an encoder, a decoder), unless all are alike
        first = next(iter(shapes.values()))
        if isinstance(node, Mapping) and any(found != first for found in shapes.values()):
            continue
        # all, not some: a list with one posterior among other things is an ordinary checkpoint
        if all(is_posterior(part(raw, (*path, key))) for key in named):
            return tuple(
                Member(str(key), _summary(found), (*path, key)) for key, found in shapes.items()
            )
    return ()


def _is_whole(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether arrays of these shapes are a network's rather than one layer's.

    A layer has the mean and the scale of one matrix, a network those of several; flat vectors have
    none, or one: a factor of their covariance.
    """
    matrices = sum(len(shape) > 1 for shape in shapes.values())
    # two: a layer's mean and scale; three: with the noise buffer that some layers keep beside them
    return bool(shapes) and matrices not in (2, 3)


def _summary(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """How large a member is."""
    size = sum(int(np.prod(shape)) for shape in shapes.values())
    return f"{len(shapes)} arrays, {size} values"


def _places(tree: Tree) -> Iterator[tuple[Path, Any]]:
    """Where several posteriors can stand: at the root, in the state dict's place, or one below."""
    root = state_dict_path(tree)
    # the root may be the state dict's own place; it is then visited once
    for path in dict.fromkeys(((), root)):
        node = at(tree, path)
        if isinstance(node, Mapping | list | tuple):
            yield path, node
        for key, child in node.items() if isinstance(node, Mapping) else ():
            if isinstance(child, list | tuple):
                yield (*path, key), child


def _shapes(entry: Tree) -> dict[str, tuple[int, ...]]:
    """Dotted key → shape of an entry's arrays; empty for what is no dict."""
    if not isinstance(entry, Mapping):
        return {}
    return {dotted(path): v.shape for path, v in walk(entry) if isinstance(v, np.ndarray)}


def flat_guides(arrays: Arrays) -> list[FlatGuide]:
    """The guides over one flat vector: a one-dimensional ``loc`` with a scale or a triangle.

    A bias of a guide that names its sites (``net_guide.fc1.bias.loc``) looks alike. It is one when
    its name says so, or when a matrix stands beside it (``w1.loc``, ``b1.loc``).
    """
    ends = {key: match for key in arrays if (match := _LOC.match(key))}
    found = []
    for key, match in ends.items():
        prefix = match["prefix"]
        # a guide's state dict marks what is constrained: loc, scale_unconstrained, cov_factor
        scale, factor, tril = (
            next((k for k in (f"{prefix}{w}", f"{prefix}{w}_unconstrained") if k in arrays), None)
            for w in ("scale", "cov_factor", "scale_tril")
        )
        # a guide over one vector has a diagonal or a triangle; a mean alone is a point estimate
        if arrays[key].ndim != 1 or (scale is None and tril is None):
            continue
        # a factor or triangle belongs to a whole guide: no site has one
        if factor is None and tril is None and _is_site(prefix, ends, arrays):
            continue
        found.append(FlatGuide(prefix, key, scale, factor, tril))
    return found


def _is_site(prefix: str, ends: Mapping[str, re.Match[str]], arrays: Arrays) -> bool:
    """Whether the ``loc`` with this prefix is one of several sites' rather than a whole guide's."""
    name = prefix.rstrip(".")
    if is_weight_like(name):
        return True
    parent = name.rpartition(".")[0]
    beside = [
        key
        for key, match in ends.items()
        if match["prefix"] and match["prefix"].rstrip(".").rpartition(".")[0] == parent
    ]
    return bool(name) and any(arrays[key].ndim > 1 for key in beside)


def _guides(arrays: Arrays) -> tuple[Member, ...]:
    """The guides that a parameter store or state dict holds, where there are several."""
    # flat guides first: they are the ones a site's reader would take for one weight
    groups: list[tuple[str, str, str, set[str]]] = []  # prefix, kind, what it is, keys
    for flat in flat_guides(arrays):
        extra = "".join(f" and {key.removeprefix(flat.prefix)}" for key in flat.keys[2:])
        what = f"one flat vector of {arrays[flat.loc].size} values{extra}"
        groups.append((flat.prefix, "flat", what, set(flat.keys)))
    taken = {key for *_, keys in groups for key in keys}
    for prefix, keys in _site_groups({k: v for k, v in arrays.items() if k not in taken}):
        means = [key for key in arrays if key in keys and (_SITES.match(key) or _LOC.match(key))]
        groups.append((prefix, "sites", f"{len(means)} tensors, {means[0]} the first", keys))
    # one guide needs no choice, and leaves every key of the file to its reader
    if len(groups) < 2:
        return ()
    prefixes = [prefix for prefix, *_ in groups]
    found = []
    for prefix, kind, what, keys in groups:
        base = prefix.rstrip(".")
        name = (
            base if base and prefixes.count(prefix) == 1 else ":".join(filter(None, (base, kind)))
        )
        # what two members share is nobody's to take away
        others = frozenset(k for *_, other in groups for k in other if k not in keys)
        found.append(Member(name, what, others=others))
    return tuple(found)


def _site_groups(arrays: Arrays) -> Iterator[tuple[str, set[str]]]:
    """Prefix and keys of each guide that names its sites, Pyro's and TyXe's."""
    guides: dict[str, dict[str, set[str]]] = {}  # prefix → site → keys
    own: set[str] = set()
    for key in arrays:
        if match := _SITES.match(key):
            scale = f"{match['prefix']}scales.{match['site']}"
            if scale in arrays:
                guides.setdefault(match["prefix"], {})[match["site"]] = {key, scale}
        elif (match := _LOC.match(key)) and match["prefix"]:
            scale = f"{match['prefix']}scale{match['end'] or ''}"
            own |= {key, scale} if scale in arrays else set()
    yield from _alternatives(guides)
    if own:
        # TyXe's default name, so that a guide goes by it rather than by its first layer's
        yield "net_guide." if all(_GUIDE.match(key) for key in own) else "", own


def _alternatives(guides: Mapping[str, Mapping[str, set[str]]]) -> Iterator[tuple[str, set[str]]]:
    """Guides that share a site, each by itself; else all of them as one.

    Guides over different sites make up one posterior (Pyro's AutoGuideList).
    """
    # a site named twice cannot be one latent variable of one posterior
    sites = [site for guide in guides.values() for site in guide]
    if len(set(sites)) < len(sites):
        for prefix, guide in guides.items():
            yield prefix, set().union(*guide.values())
    elif guides:
        yield (
            next(iter(guides)),
            {k for guide in guides.values() for s in guide.values() for k in s},
        )
