"""Checkpoint files → posteriors. One file per container and one per dialect; see docs/ARCHITECTURE.md."""

from symdiag.formats.loading import companions_of, interpret, load, save, to_raw
from symdiag.formats.samples import WeightSamples, load_samples

__all__ = ["WeightSamples", "companions_of", "interpret", "load", "load_samples", "save", "to_raw"]
