"""Checkpoint files → posteriors. One file per container and one per dialect; see docs/ARCHITECTURE.md."""

from symdiag.formats.loading import interpret, load, save, to_raw

__all__ = ["interpret", "load", "save", "to_raw"]
