"""Which tensor axes must move together: a union-find over unit axes, filled in by the rules that
follow a network.

A *variable* is one set of units. A *label* says that a tensor axis runs over a variable's units,
read as ``(outer, units, inner)`` in C order. A reshape may split a variable into *parts*, the
factors of its index (heads and units within a head, say): it then stands for their product, and
each part is a set of units of its own. A variable may also be a sum of *terms*, labels laid end to
end: units that were concatenated, each term with units of its own.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from symdiag.symmetry.spec import Group, Member
from symdiag.symmetry.units import (
    CONSTANT,
    FIXED,
    MAX_REPEATS,
    REPEATED,
    SILENT,
    SINGLE,
    WITHIN,
    Label,
    Units,
    Variable,
)


@dataclass
class AxisTable(Units):
    """Units, what was united, and which parameter axes they own."""

    bindings: dict[tuple[str, int], tuple[Label | None, bool]] = field(default_factory=dict)

    def product(self, labels: Sequence[Label]) -> Label:
        """A variable whose units are the combinations of those of several, in C order."""
        # a factor of size 1 adds nothing to the index and
        # its lone unit would be lost: pin, then drop it
        single = [label for label in labels if self.size(label) == 1]
        self.pin(single, SINGLE)
        labels = [label for label in labels if label not in single] or labels[:1]
        parts = tuple(self.find(label.variable) for label in labels)
        size = math.prod(self.variables[part].size for part in parts)
        return self.add(Variable(self.variables[parts[0]].name, size, quiet=True, parts=parts))

    def split(self, label: Label, sizes: Sequence[int]) -> list[Label] | None:
        """The label's units as combinations of parts of the given sizes; None, with all pinned, if
        cuts do not nest.
        """
        wanted = _cuts(sizes)
        leaves = self.leaves(label.variable)
        # old and new cuts together: a refinement exists exactly if each divides the next
        cuts = sorted({*wanted, *_cuts(self._sizes(label))})
        cut_sum = any(self.variables[leaf].terms for leaf in leaves) and not {*cuts} <= {
            *_cuts(self._sizes(label))
        }
        # a sum has no inner factors to cut, and a leaf that occurs
        # twice (a square of one set) cannot be cut on one side alone
        if (
            cut_sum
            or len(set(leaves)) < len(leaves)
            or any(b % a for a, b in itertools.pairwise(cuts))
        ):
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
            # the two ends are always among them: more than two is a cut inside
            if len(inside) > 2 and not variable.parts:
                pieces = [b // a for a, b in itertools.pairwise(inside)]
                made = [self.add(replace(variable, size=size)) for size in pieces]
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
        if replace(first, variable=self.find(first.variable)) == replace(
            second, variable=self.find(second.variable)
        ):
            return first
        # sums before shapes: pieces can agree although (outer, size, inner) of the wholes do not
        if self.is_sum(first) or self.is_sum(second):
            return self._unify_sums(first, second, reason)
        if (first.outer, first.inner, self.size(first)) != (
            second.outer,
            second.inner,
            self.size(second),
        ):
            return self._unify_flattened(first, second, reason)
        if self.find(first.variable) == self.find(second.variable):
            return first
        # each side is cut where the other is, so that
        # leaves match one to one; a failed cut shows below
        for one, other in ((first, second), (second, first)):
            self.split(one, self._sizes(other))
        if self._sizes(first) != self._sizes(second):
            self.pin([first, second], reason)
            return None
        for a, b in zip(self.leaves(first.variable), self.leaves(second.variable), strict=True):
            self._unify_leaves(a, b, reason)
        return first

    def _unify_flattened(self, first: Label, second: Label, reason: str) -> Label | None:
        """An axis taken as units of its own turns out to be (outer, units, inner): a flatten before
        it.
        """
        for whole, other in ((first, second), (second, first)):
            plain = whole.outer == whole.inner == 1 and len(self.leaves(whole.variable)) == 1
            if not plain or self.length(whole) != self.length(other):
                continue
            # before the flatten the axis was (outer, units,
            # inner): only its middle factor is the other's
            sizes = (other.outer, self.size(other), other.inner)
            parts = self.split(whole, [size for size in sizes if size > 1])
            if parts is None or 1 in sizes[1:2]:
                break
            before = int(other.outer > 1)
            # positions are fixed: only the units among them may be reordered
            self.pin([*parts[:before], *parts[before + 1 :]], FIXED)
            return self.unify(Label(other.variable), parts[before], reason) and other
        self.pin([first, second], reason)
        return None

    def _unify_sums(self, first: Label, second: Label, reason: str) -> Label | None:
        """Piece by piece, after whole sets of units have been cut where the pieces of the other
        side end.
        """
        if self.length(first) != self.length(second):
            self.pin([first, second], reason)
            return None
        # ends: every round cuts a whole set of units at
        # a new place, of which an axis has finitely many
        while True:
            pairs = list(zip(self.pieces(first), self.pieces(second), strict=False))
            uneven = next(((a, b) for a, b in pairs if self.length(a) != self.length(b)), None)
            if uneven is None:
                break
            shorter, longer = sorted(uneven, key=self.length)
            if not self.cut_off(longer, self.length(shorter)):
                self.pin([first, second], f"{reason} (its pieces end elsewhere)")
                return None
        for a, b in pairs:
            # pieces that no unit owns (FIXED) fix the units
            # that run over them, whatever their labels
            if FIXED in {self.variables[self.find(piece.variable)].pinned for piece in (a, b)}:
                self.pin([a, b], reason)
            if self.is_sum(a) or self.is_sum(b):
                self.pin([a, b] if a != b else None, reason)
            else:
                self.unify(a, b, reason)
        return first

    def _unify_leaves(self, first: int, second: int, reason: str) -> None:
        """What was a leaf may have been taken apart while those before it were united."""
        roots = [self.variables[self.find(leaf)] for leaf in (first, second)]
        if any(root.terms or root.parts for root in roots):
            self.unify(Label(first), Label(second), reason)
        else:
            self._unite(first, second)

    def _sizes(self, label: Label) -> list[int]:
        return [self.variables[leaf].size for leaf in self.leaves(label.variable)]

    def _unite(self, first: int, second: int) -> None:
        # the older one stays root: groups are listed, and named, by what made the units first
        root, other = sorted((self.find(first), self.find(second)))
        if root != other:
            self.parents[other] = root
            kept, gone = self.variables[root], self.variables[other]
            kept.pinned, kept.unsigned = kept.pinned or gone.pinned, kept.unsigned or gone.unsigned
            kept.quiet = kept.quiet and gone.quiet
            # a first state of zeros makes no units: what reads or writes it does
            kept.name = gone.name if kept.name == CONSTANT else kept.name

    def bind(
        self, tensor: str, axis: int, label: Label | None, *, flips: bool = True, reason: str = ""
    ) -> Label | None:
        """A parameter axis runs over ``label``'s units; binding it again (weight sharing) unites
        both uses.
        """
        known, known_flips = self.bindings.setdefault((tensor, axis), (label, flips))
        if known_flips != flips:
            self.unsign([known, label], f"{tensor} is used in two roles")
        # identity, not equality: a label fresh from setdefault is this very object
        if known is label:
            return label
        return self.unify(known, label, reason or f"{tensor} is shared with units that stay fixed")

    def _bound(self) -> list[tuple[str, int, Label, bool]]:
        """The parameter axes that run over units."""
        return [
            (*place, label, flips)
            for place, (label, flips) in self.bindings.items()
            if label is not None
        ]

    def groups(self, aliases: Mapping[str, Sequence[str]]) -> tuple[Group, ...]:
        """The free groups, in order of creation; ``aliases`` lists every name under which a tensor
        is stored.
        """
        self._settle()
        members: dict[int, list[Member]] = {}
        for tensor, axis, label, flips in self._bound():
            for leaf, start, outer, inner in self.runs(label):
                variable = self.variables[leaf]
                if variable.pinned:
                    continue
                # a member that owns all of the axis needs no
                # start, and a spec file says so by leaving it out
                whole = outer * variable.size * inner == self.length(label)
                for name in aliases.get(tensor, (tensor,)):
                    member = Member(name, axis, outer, inner, flips, None if whole else start)
                    members.setdefault(leaf, []).append(member)
        return distinct([self._group(root, members[root]) for root in sorted(members)])

    def _settle(self) -> None:
        """Hold what cannot be grouped on some axis: single units that cannot flip, and units within
        units.
        """
        for _, _, label, _ in self._bound():
            for leaf in self.free_leaves(label.variable):
                variable = self.variables[leaf]
                if variable.size == 1 and variable.unsigned:  # nothing to permute, nothing to flip
                    variable.pinned = variable.pinned or SINGLE
        for _, _, label, _ in self._bound():
            self._settle_axis(label)

    def _settle_axis(self, label: Label) -> None:
        """Leave free units in at most one factor of every product, the first, also of those within
        sums.
        """
        leaves = self.leaves(label.variable)
        free = [
            [x for x in self.free_leaves(leaf) if not self.variables[x].pinned] for leaf in leaves
        ]
        # no entry of an axis may belong to two groups: of nested free factors the outermost is kept
        first = next((position for position, inside in enumerate(free) if inside), len(free))
        for inside in free[first + 1 :]:
            for leaf in inside:
                self.variables[leaf].pinned = WITHIN
        for position, leaf in enumerate(leaves):
            # each repeat of a sum is a member of its own, hence the bound
            outer = label.outer * math.prod(
                self.variables[before].size for before in leaves[:position]
            )
            terms = self.variables[leaf].terms
            if terms and outer > MAX_REPEATS:
                self.pin(Label(leaf), REPEATED)
            for term in terms:
                self._settle_axis(term)

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

    def _held(self, index: int) -> Variable | None:
        """The part of a variable that says why all of it is fixed; None if some of it is free."""
        leaves = [self.variables[leaf] for leaf in self.free_leaves(index)]
        # a reason worth a note goes before those that explain themselves
        told = [leaf for leaf in leaves if leaf.pinned not in SILENT] or leaves
        return told[0] if all(leaf.pinned for leaf in leaves) else None

    def notes(self) -> tuple[str, ...]:
        """One line per variable that was pinned for a reason other than being the network's output."""
        part_of_another = {
            self.find(part) for variable in self.variables for part in variable.parts
        }
        # parts are told with the whole they are cut from, else one cause gives many notes
        tops = [
            i for i in range(len(self.parents)) if self.find(i) == i and i not in part_of_another
        ]
        held = [(self.variables[i].quiet, self._held(i)) for i in tops]
        told = [
            variable
            for quiet, variable in held
            if variable and not quiet and variable.pinned not in SILENT
        ]
        return tuple(dict.fromkeys(f"{v.name}: units held fixed ({v.pinned})" for v in told))


def distinct(groups: Sequence[Group]) -> tuple[Group, ...]:
    """The groups under names of their own: one module can hold several parameters used by hand."""
    seen: Counter[str] = Counter()
    result = []
    for group in groups:
        name = re.sub(r" \(\d+\)$", "", group.name)  # numbered before, when others were among them
        seen[name] += 1
        number = f" ({seen[name]})" if seen[name] > 1 else ""
        result.append(replace(group, name=name + number))
    return tuple(result)


def _cuts(sizes: Sequence[int]) -> list[int]:
    """1, and the products of the first sizes, of the first two, and so on."""
    return [math.prod(sizes[:count]) for count in range(len(sizes) + 1)]
