"""A module's groups in the names that the file has for its tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from symdiag.symmetry.axes import distinct
from symdiag.symmetry.spec import PermutationSpec


def renamed(spec: PermutationSpec, names: Mapping[str, str]) -> PermutationSpec:
    """``spec`` in the file's tensor names; members the file lacks are dropped, and groups follow
    their module.
    """
    modules = module_names(names)
    groups = []
    for group in spec:
        members = (replace(m, tensor=names[m.tensor]) for m in group.members if m.tensor in names)
        kept = tuple(dict.fromkeys(members))  # several names of one mean (blitz) are one member
        if kept:
            own = re.sub(r" \(\d+\)$", "", group.name)
            name = modules.get(own, names.get(own, own))
            groups.append(replace(group, name=name, members=kept))
    return PermutationSpec(distinct(groups), spec.notes)


def module_names(names: Mapping[str, str]) -> dict[str, str]:
    """Module that owns a tensor → what the file calls that module."""
    return {
        own.rpartition(".")[0]: theirs.rpartition(".")[0]
        for own, theirs in names.items()
        if "." in theirs
    }
