"""Which tensor axes must move together: a union-find over unit axes, filled in by the rules that follow a network.

A *variable* is one set of units. A *label* says that a tensor axis runs over a variable's units, read as
``(outer, units, inner)`` in C order. A reshape may split a variable into *parts*, the factors of its index (heads and
units within a head, say): it then stands for their product, and each part is a set of units of its own.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from symdiag.symmetry.spec import Group, Member


@dataclass(frozen=True)
class Label:
    """A tensor axis that runs over the units of ``variable``."""

    variable: int
    outer: int = 1
    inner: int = 1


Labels = tuple[Label | None, ...]
"""One entry per tensor axis; None for axes that stay fixed (batch, space, inputs)."""


@dataclass
class _Variable:
    name: str
    size: int
    pinned: str = ""
    unsigned: str = ""
    quiet: bool = False
    parts: tuple[int, ...] = ()


@dataclass
class AxisTable:
    """Variables, what was united, and which parameter axes they own."""

    variables: list[_Variable] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    bindings: dict[tuple[str, int], tuple[Label | None, bool]] = field(default_factory=dict)

    def new(self, name: str, size: int, *, quiet: bool = False) -> Label:
        """A fresh variable of ``size`` units, named after what produces them; ``quiet`` ones need no note if pinned."""
        return self._add(_Variable(name, size, quiet=quiet))

    def _add(self, variable: _Variable) -> Label:
        self.variables.append(variable)
        self.parents.append(len(self.parents))
        return Label(len(self.parents) - 1)

    def find(self, index: int) -> int:
        """The representative of a variable."""
        while self.parents[index] != index:
            self.parents[index] = self.parents[self.parents[index]]
            index = self.parents[index]
        return index

    def leaves(self, index: int) -> list[int]:
        """The parts of a variable that are not split any further, in C order; itself where it is whole."""
        root = self.find(index)
        parts = self.variables[root].parts
        return [leaf for part in parts for leaf in self.leaves(part)] if parts else [root]

    def size(self, label: Label) -> int:
        """Number of units the label's variable stands for."""
        return self.variables[self.find(label.variable)].size

    def pin(self, labels: Label | Sequence[Label | None] | None, reason: str) -> None:
        """Hold units fixed; the first reason is kept."""
        for variable in self._leaf_variables(labels):
            variable.pinned = variable.pinned or reason

    def unsign(self, labels: Sequence[Label | None], reason: str) -> None:
        """Rule sign flips out; permutations stay."""
        for variable in self._leaf_variables(labels):
            variable.unsigned = variable.unsigned or reason

    def _leaf_variables(self, labels: Label | Sequence[Label | None] | None) -> Iterator[_Variable]:
        for label in [labels] if labels is None or isinstance(labels, Label) else labels:
            if label is not None:
                yield from (self.variables[leaf] for leaf in self.leaves(label.variable))

    def product(self, labels: Sequence[Label]) -> Label:
        """A variable whose units are the combinations of those of several, in C order."""
        single = [label for label in labels if self.size(label) == 1]
        self.pin(single, SINGLE)
        labels = [label for label in labels if label not in single] or labels[:1]
        parts = tuple(self.find(label.variable) for label in labels)
        size = math.prod(self.variables[part].size for part in parts)
        return self._add(_Variable(self.variables[parts[0]].name, size, quiet=True, parts=parts))

    def split(self, label: Label, sizes: Sequence[int]) -> list[Label] | None:
        """The label's units as combinations of parts of the given sizes; None, with all pinned, if cuts do not nest."""
        wanted = _cuts(sizes)
        leaves = self.leaves(label.variable)
        cuts = sorted({*wanted, *_cuts(self._sizes(label))})
        if len(set(leaves)) < len(leaves) or any(b % a for a, b in itertools.pairwise(cuts)):
            self.pin(label, "its units are regrouped in blocks that do not nest")
            return None
        self._cut(leaves, cuts)
        return self._grouped(self.leaves(label.variable), wanted)

    def _cut(self, leaves: Sequence[int], cuts: Sequence[int]) -> None:
        """Split every leaf at the cuts that fall inside it."""
        start = 1
        for leaf in leaves:
            variable = self.variables[leaf]
            inside = [cut // start for cut in cuts if start <= cut <= start * variable.size]
            start *= variable.size
            if len(inside) > 2 and not variable.parts:
                pieces = [b // a for a, b in itertools.pairwise(inside)]
                made = [self._add(replace(variable, size=size)) for size in pieces]
                variable.parts = tuple(part.variable for part in made)

    def _grouped(self, leaves: Sequence[int], wanted: Sequence[int]) -> list[Label]:
        """Consecutive leaves, together as large as each step from one cut to the next."""
        result, rest = [], list(leaves)
        for low, high in itertools.pairwise(wanted):
            taken: list[Label] = []
            while not taken or math.prod(self.size(label) for label in taken) < high // low:
                taken.append(Label(rest.pop(0)))
            result.append(taken[0] if len(taken) == 1 else self.product(taken))
        return result

    def unify(self, first: Label | None, second: Label | None, reason: str) -> Label | None:
        """Both axes run over the same units from now on; a fixed axis fixes the other.

        Returns:
            The common label, or None if the units had to be pinned.
        """
        if first is None or second is None:
            self.pin([first, second], reason)
            return None
        if (first.outer, first.inner, self.size(first)) != (second.outer, second.inner, self.size(second)):
            self.pin([first, second], reason)
            return None
        if self.find(first.variable) == self.find(second.variable):
            return first
        for one, other in ((first, second), (second, first)):
            self.split(one, self._sizes(other))
        if self._sizes(first) != self._sizes(second):
            self.pin([first, second], reason)
            return None
        for a, b in zip(self.leaves(first.variable), self.leaves(second.variable), strict=True):
            self._unite(a, b)
        return first

    def _sizes(self, label: Label) -> list[int]:
        return [self.variables[leaf].size for leaf in self.leaves(label.variable)]

    def _unite(self, first: int, second: int) -> None:
        root, other = sorted((self.find(first), self.find(second)))
        if root != other:
            self.parents[other] = root
            kept, gone = self.variables[root], self.variables[other]
            kept.pinned, kept.unsigned = kept.pinned or gone.pinned, kept.unsigned or gone.unsigned
            kept.quiet = kept.quiet and gone.quiet

    def bind(
        self, tensor: str, axis: int, label: Label | None, *, flips: bool = True, reason: str = ""
    ) -> Label | None:
        """A parameter axis runs over ``label``'s units; binding it again (weight sharing) unites both uses."""
        known, known_flips = self.bindings.setdefault((tensor, axis), (label, flips))
        if known_flips != flips:
            self.unsign([known, label], f"{tensor} is used in two roles")
        if known is label:
            return label
        return self.unify(known, label, reason or f"{tensor} is shared with units that stay fixed")

    def _bound(self) -> list[tuple[str, int, Label, bool]]:
        """The parameter axes that run over units."""
        return [(*place, label, flips) for place, (label, flips) in self.bindings.items() if label is not None]

    def groups(self, aliases: Mapping[str, Sequence[str]]) -> tuple[Group, ...]:
        """The free groups, in order of creation; ``aliases`` lists every name under which a tensor is stored."""
        self._settle()
        members: dict[int, list[Member]] = {}
        for tensor, axis, label, flips in self._bound():
            leaves = self.leaves(label.variable)
            for position, leaf in enumerate(leaves):
                if self.variables[leaf].pinned:
                    continue
                outer, inner = (self._product(part) for part in (leaves[:position], leaves[position + 1 :]))
                for name in aliases.get(tensor, (tensor,)):
                    member = Member(name, axis, label.outer * outer, inner * label.inner, flips)
                    members.setdefault(leaf, []).append(member)
        return _distinct([self._group(root, members[root]) for root in sorted(members)])

    def _settle(self) -> None:
        """Leave at most one free part on every axis, the first: units within units are not grouped."""
        for _, _, label, _ in self._bound():
            for leaf in self.leaves(label.variable):
                variable = self.variables[leaf]
                if variable.size == 1 and variable.unsigned:  # nothing to permute, nothing to flip
                    variable.pinned = variable.pinned or SINGLE
        for _, _, label, _ in self._bound():
            leaves = self.leaves(label.variable)
            free = [leaf for leaf in leaves if not self.variables[leaf].pinned]
            for leaf in [leaf for leaf in free[1:] if leaf != free[0]] + [x for x in free[:1] if leaves.count(x) > 1]:
                self.variables[leaf].pinned = WITHIN

    def _product(self, leaves: Sequence[int]) -> int:
        return math.prod(self.variables[leaf].size for leaf in leaves)

    def _group(self, root: int, members: list[Member]) -> Group:
        variable = self.variables[root]
        return Group(variable.name, variable.size, tuple(members), signed=not variable.unsigned)

    def reasons(self) -> dict[str, str]:
        """Tensor → why units it holds are fixed, for tensors with an axis of which no part is free."""
        found: dict[str, str] = {}
        for tensor, _, label, _ in self._bound():
            variable = self._held(label.variable)
            if variable is not None:
                found.setdefault(tensor, f"{variable.name}: {variable.pinned}")
        return found

    def _held(self, index: int) -> _Variable | None:
        """The part of a variable that says why all of it is fixed; None if some of it is free."""
        leaves = [self.variables[leaf] for leaf in self.leaves(index)]
        told = [leaf for leaf in leaves if leaf.pinned not in SILENT] or leaves
        return told[0] if all(leaf.pinned for leaf in leaves) else None

    def notes(self) -> tuple[str, ...]:
        """One line per variable that was pinned for a reason other than being the network's output."""
        part_of_another = {self.find(part) for variable in self.variables for part in variable.parts}
        tops = [i for i in range(len(self.parents)) if self.find(i) == i and i not in part_of_another]
        held = [(self.variables[i].quiet, self._held(i)) for i in tops]
        told = [variable for quiet, variable in held if variable and not quiet and variable.pinned not in SILENT]
        return tuple(dict.fromkeys(f"{v.name}: units held fixed, {v.pinned}" for v in told))


def _distinct(groups: Sequence[Group]) -> tuple[Group, ...]:
    """The groups under names of their own: one module can hold several parameters used by hand."""
    seen: Counter[str] = Counter()
    result = []
    for group in groups:
        seen[group.name] += 1
        again = seen[group.name] > 1
        result.append(replace(group, name=f"{group.name} ({seen[group.name]})") if again else group)
    return tuple(result)


def _cuts(sizes: Sequence[int]) -> list[int]:
    """1, and the products of the first sizes, of the first two, and so on."""
    return [math.prod(sizes[:count]) for count in range(len(sizes) + 1)]


OUTPUT = "output units"
SINGLE = "a single unit"
WITHIN = "units within units"
SILENT = frozenset({"", OUTPUT, SINGLE, WITHIN})
"""Reasons that need no note."""
