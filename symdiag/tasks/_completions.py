"""Values that a shell can complete: read when asked for, so that --help stays quick."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def activations() -> Iterable[str]:
    from symdiag.network.architecture import ACTIVATIONS

    return ACTIVATIONS


def transforms() -> Iterable[str]:
    from symdiag.formats.transforms import BY_NAME

    return BY_NAME


def costs() -> Iterable[str]:
    # by the files of the room: importing its package takes scipy, and a second of waiting
    folder = Path(__file__).parents[1] / "alignment" / "costs"
    return (path.stem for path in folder.glob("[!_]*.py"))
