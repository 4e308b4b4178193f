"""Which tensor axes must move together: a union-find over unit axes, filled in by the rules that follow a network.

A *variable* is one set of units. A *label* says that a tensor axis runs over a variable's units, read as
``(outer, units, inner)`` in C order. Reshapes may later turn out to keep only blocks of units together (the heads of an
attention layer): the variable's *grain* then counts how many original units make one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from symdiag.symmetry.spec import Group, Member


@dataclass(frozen=True)
class Label:
    """A tensor axis that runs over the units of ``variable``; ``inner`` is in original units (a fraction after a
    split).
    """

    variable: int
    outer: int = 1
    inner: Fraction = Fraction(1)


Labels = tuple[Label | None, ...]
"""One entry per tensor axis; None for axes that stay fixed (batch, space, inputs)."""


@dataclass
class _Variable:
    name: str
    size: int
    grain: int = 1
    pinned: str = ""
    unsigned: str = ""
    quiet: bool = False


@dataclass
class AxisTable:
    """Variables, what was united, and which parameter axes they own."""

    variables: list[_Variable] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    bindings: dict[tuple[str, int], tuple[Label, bool]] = field(default_factory=dict)

    def new(self, name: str, size: int, *, quiet: bool = False) -> Label:
        """A fresh variable of ``size`` units, named after what produces them; ``quiet`` ones need no note if pinned."""
        self.variables.append(_Variable(name, size, quiet=quiet))
        self.parents.append(len(self.parents))
        return Label(len(self.parents) - 1)

    def find(self, index: int) -> int:
        """The representative of a variable."""
        while self.parents[index] != index:
            self.parents[index] = self.parents[self.parents[index]]
            index = self.parents[index]
        return index

    def variable(self, label: Label) -> _Variable:
        """The variable a label stands for, after all unions."""
        return self.variables[self.find(label.variable)]

    def pin(self, labels: Label | Sequence[Label | None] | None, reason: str) -> None:
        """Hold units fixed; the first reason is kept."""
        for label in [labels] if labels is None or isinstance(labels, Label) else labels:
            if label is not None:
                variable = self.variable(label)
                variable.pinned = variable.pinned or reason

    def unsign(self, labels: Sequence[Label | None], reason: str) -> None:
        """Rule sign flips out; permutations stay."""
        for label in labels:
            if label is not None:
                variable = self.variable(label)
                variable.unsigned = variable.unsigned or reason

    def refine(self, label: Label, grain: int) -> None:
        """Only blocks of ``grain`` original units move from now on."""
        variable = self.variable(label)
        grain = math.lcm(variable.grain, grain)
        if variable.size % grain:
            self.pin(label, "its units are regrouped in blocks that do not nest")
        else:
            variable.grain = grain

    def unify(self, first: Label | None, second: Label | None, reason: str) -> Label | None:
        """Both axes run over the same units from now on; a fixed axis fixes the other.

        Returns:
            The common label, or None if the units had to be pinned.
        """
        if first is None or second is None:
            self.pin([first, second], reason)
            return None
        one, two = self.variable(first), self.variable(second)
        if (first.outer, first.inner, one.size) != (second.outer, second.inner, two.size):
            self.pin([first, second], reason)
            return None
        root, other = sorted((self.find(first.variable), self.find(second.variable)))
        if root != other:
            self.parents[other] = root
            kept, gone = self.variables[root], self.variables[other]
            kept.pinned, kept.unsigned = kept.pinned or gone.pinned, kept.unsigned or gone.unsigned
            kept.quiet = kept.quiet and gone.quiet
            self.refine(first, gone.grain)
        return first

    def bind(
        self, tensor: str, axis: int, label: Label | None, *, flips: bool = True, reason: str = ""
    ) -> Label | None:
        """A parameter axis runs over ``label``'s units; binding it again (weight sharing) unites both."""
        known = self.bindings.get((tensor, axis))
        if known is not None:
            if known[1] != flips:
                self.unsign([known[0], label], f"{tensor} is used in two roles")
            return self.unify(known[0], label, reason or f"{tensor} is shared with units that stay fixed")
        if label is not None:
            self.bindings[tensor, axis] = (label, flips)
        return label

    def groups(self, aliases: Mapping[str, Sequence[str]]) -> tuple[Group, ...]:
        """The free groups, in order of creation; ``aliases`` lists every name under which a tensor is stored."""
        members: dict[int, list[Member]] = {}
        for (tensor, axis), (label, flips) in self.bindings.items():
            variable = self.variable(label)
            inner = label.inner * variable.grain
            if inner.denominator != 1:
                self.pin(label, "its units are cut by a reshape")
            elif variable.size == variable.grain and variable.unsigned:  # nothing to permute, nothing to flip
                self.pin(label, SINGLE)
            if variable.pinned:
                continue
            for name in aliases.get(tensor, (tensor,)):
                member = Member(name, axis, label.outer, int(inner), flips)
                members.setdefault(self.find(label.variable), []).append(member)
        return tuple(self._group(root, members[root]) for root in sorted(members) if not self.variables[root].pinned)

    def _group(self, root: int, members: list[Member]) -> Group:
        variable = self.variables[root]
        width = variable.size // variable.grain
        return Group(variable.name, width, tuple(members), signed=not variable.unsigned)

    def reasons(self) -> dict[str, str]:
        """Tensor → why units it holds are fixed, for tensors with a pinned axis."""
        found: dict[str, str] = {}
        for (tensor, _), (label, _) in self.bindings.items():
            variable = self.variable(label)
            if variable.pinned:
                found.setdefault(tensor, f"{variable.name}: {variable.pinned}")
        return found

    def notes(self) -> tuple[str, ...]:
        """One line per variable that was pinned for a reason other than being the network's output."""
        roots = [self.variables[i] for i in range(len(self.parents)) if self.find(i) == i]
        told = [v for v in roots if not v.quiet and v.pinned not in {"", OUTPUT, SINGLE}]
        return tuple(dict.fromkeys(f"{v.name}: units held fixed, {v.pinned}" for v in told))


OUTPUT = "output units"
SINGLE = "a single unit"
"""Reasons that need no note."""
