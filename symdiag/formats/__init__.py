"""Checkpoint files → posteriors, and back.

`containers` turn bytes into named arrays (one file per format on disk), `dialects` turn those into
posteriors (one file per library or convention). What other packages use is declared here.
"""

from symdiag.formats.atomic import atomic_write
from symdiag.formats.containers import all_containers
from symdiag.formats.interface import RawCheckpoint, ReadOptions
from symdiag.formats.loading import (
    companions_of,
    file_of,
    interpret,
    load,
    network_of,
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
    "companions_of",
    "file_of",
    "interpret",
    "load",
    "load_samples",
    "network_of",
    "read_header",
    "read_raw",
    "save",
    "state_dict",
    "to_raw",
    "write_raw",
]
