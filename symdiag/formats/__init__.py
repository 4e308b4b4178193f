"""Checkpoint files → posteriors, and back.

`containers` turn bytes into named arrays (one file per format on disk), `dialects` turn those into
posteriors (one file per library or convention). What other packages use is declared here.
"""

from symdiag.formats.atomic import atomic_write
from symdiag.formats.containers import all_containers
from symdiag.formats.interface import RawCheckpoint, ReadOptions
from symdiag.formats.interpretation import interpret
from symdiag.formats.loading import (
    file_of,
    load,
    network_of,
    one_each,
    save,
    state_dict,
    to_raw,
)
from symdiag.formats.reading import read_header, read_raw, write_raw
from symdiag.formats.weight_samples import WeightSamples, load_samples

__all__ = [
    "RawCheckpoint",
    "ReadOptions",
    "WeightSamples",
    "all_containers",
    "atomic_write",
    "file_of",
    "interpret",
    "load",
    "load_samples",
    "network_of",
    "one_each",
    "read_header",
    "read_raw",
    "save",
    "state_dict",
    "to_raw",
    "write_raw",
]
