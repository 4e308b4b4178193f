"""Symmetry groups: found in a network, checked on its outputs, applied to its weights."""

from symdiag.symmetry.discovery import Symmetry, discover
from symdiag.symmetry.elements import Action, Element, act, act_on_axis, random_action
from symdiag.symmetry.spec import Group, Member, PermutationSpec
from symdiag.symmetry.specfile import format_spec, read_spec

__all__ = [
    "Action",
    "Element",
    "Group",
    "Member",
    "PermutationSpec",
    "Symmetry",
    "act",
    "act_on_axis",
    "discover",
    "format_spec",
    "random_action",
    "read_spec",
]
