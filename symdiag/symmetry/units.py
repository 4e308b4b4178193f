"""Sets of units behind labelled axes: whole, the product of parts, or the sum of terms laid end to
end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

OUTPUT = "output units"
SINGLE = "a single unit"
WITHIN = "units within units"
FIXED = "entries that stay fixed"
REPEATED = "concatenated units are repeated along an axis"
CONSTANT = "constant"
"""Name of the units of a tensor of one number, until they are united with others."""

SILENT = frozenset({"", OUTPUT, SINGLE, WITHIN, FIXED})
"""Reasons that need no note."""

MAX_REPEATS = 16
"""Times a concatenation may recur along one axis before its units are held: a member each."""


@dataclass(frozen=True)
class Label:
    """A tensor axis that runs over the units of ``variable``."""

    variable: int
    outer: int = 1
    inner: int = 1


Labels = tuple[Label | None, ...]
"""One entry per tensor axis; None for axes that stay fixed (batch, space, inputs)."""


@dataclass
class Variable:
    """One set of units, why it is held fixed or cannot flip (if so), and what it is made of."""

    name: str
    size: int
    pinned: str = ""
    unsigned: str = ""
    quiet: bool = False
    parts: tuple[int, ...] = ()
    terms: tuple[Label, ...] = ()


@dataclass
class Units:
    """The variables, and which of them were united."""

    variables: list[Variable] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)

    def new(self, name: str, size: int, *, quiet: bool = False) -> Label:
        """A fresh variable of ``size`` units, named after what produces them; ``quiet`` ones need
        no note if pinned.
        """
        return self.add(Variable(name, size, quiet=quiet))

    def add(self, variable: Variable) -> Label:
        """A variable as it is."""
        self.variables.append(variable)
        self.parents.append(len(self.parents))
        return Label(len(self.parents) - 1)

    def find(self, index: int) -> int:
        """The representative of a variable."""
        while self.parents[index] != index:
            # path halving: keeps the trees flat without recursion
            self.parents[index] = self.parents[self.parents[index]]
            index = self.parents[index]
        return index

    def leaves(self, index: int) -> list[int]:
        """The parts of a variable that are not split any further, in C order; itself where it is
        whole.
        """
        root = self.find(index)
        parts = self.variables[root].parts
        return [leaf for part in parts for leaf in self.leaves(part)] if parts else [root]

    def free_leaves(self, index: int) -> list[int]:
        """As ``leaves``, with the leaves of every term in place of a sum."""
        result = []
        for leaf in self.leaves(index):
            terms = self.variables[leaf].terms
            # sums nest: a term's leaf may be a sum again
            result += (
                [deeper for term in terms for deeper in self.free_leaves(term.variable)]
                if terms
                else [leaf]
            )
        return result

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

    def _leaf_variables(self, labels: Label | Sequence[Label | None] | None) -> Iterator[Variable]:
        for label in [labels] if labels is None or isinstance(labels, Label) else labels:
            if label is not None:
                yield from (self.variables[leaf] for leaf in self.free_leaves(label.variable))

    def concatenation(self, pieces: Sequence[tuple[Label | None, int]]) -> Label | None:
        """Axes of the given sizes laid end to end: each keeps its units. None if all are fixed."""
        pieces = [(label, size) for label, size in pieces if size]
        if len(pieces) == 1 or all(label is None for label, _ in pieces):
            return pieces[0][0] if pieces else None
        terms = []
        for label, size in pieces:
            # fixed stretches need a term too, or the later pieces would start at wrong entries
            terms.append(label or self.new("fixed", size, quiet=True))
            self.pin(None if label else terms[-1], FIXED)
        return self.add(
            Variable(
                "concatenation", sum(size for _, size in pieces), quiet=True, terms=tuple(terms)
            )
        )

    def is_sum(self, label: Label | None) -> bool:
        """Whether the axis is made of pieces with units of their own."""
        return label is not None and bool(self.variables[self.find(label.variable)].terms)

    def length(self, label: Label) -> int:
        """Entries of the axis."""
        return label.outer * self.size(label) * label.inner

    def pieces(self, label: Label) -> list[Label]:
        """The axis as labels end to end, none of which is a sum that can be taken apart."""
        terms = self.variables[self.find(label.variable)].terms
        if not terms or label.outer > MAX_REPEATS:
            return [label]
        # an entry of the sum owns label.inner consecutive places, so each term's inner grows by it
        inner = [replace(term, inner=term.inner * label.inner) for term in terms]
        return [piece for term in inner * label.outer for piece in self.pieces(term)]

    def part_of(self, label: Label, start: int, stop: int) -> Label | None:
        """A stretch of an axis made of pieces; None, with all pinned, unless it begins and ends
        between pieces.
        """
        taken, end = [], 0
        for piece in self.pieces(label):
            begin, end = end, end + self.length(piece)
            if begin >= stop or end <= start:
                continue
            # a cut inside a piece tells its units apart
            if begin < start or end > stop:
                self.pin(label, "some of its units are picked out")
                return None
            taken.append((piece, self.length(piece)))
        return self.concatenation(taken)

    def cut_off(self, label: Label, length: int) -> bool:
        """Make a whole set of units a sum of two, the first of which runs over ``length`` entries."""
        variable = self.variables[self.find(label.variable)]
        # only a whole set can be cut at one place: with repeats the cut would recur in each
        if variable.parts or variable.terms or label.outer > 1 or length % label.inner:
            return False
        sizes = (length // label.inner, variable.size - length // label.inner)
        variable.terms = tuple(self.add(replace(variable, size=size)) for size in sizes)
        return True

    def runs(self, label: Label, start: int = 0) -> Iterator[tuple[int, int, int, int]]:
        """Where units lie on the axis: (leaf, first entry, outer, inner) of every stretch."""
        root = self.find(label.variable)
        variable = self.variables[root]
        if variable.terms:
            for term in variable.terms * label.outer:
                inside = replace(term, inner=term.inner * label.inner)
                yield from self.runs(inside, start)
                start += self.length(inside)
        elif variable.parts:
            sizes = [self.variables[self.find(part)].size for part in variable.parts]
            for position, part in enumerate(variable.parts):
                # C order: factors before a part repeat it, factors after it are its block
                outer, inner = math.prod(sizes[:position]), math.prod(sizes[position + 1 :])
                yield from self.runs(Label(part, label.outer * outer, inner * label.inner), start)
        else:
            yield root, start, label.outer, label.inner
