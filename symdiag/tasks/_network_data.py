"""Data sets as a network takes them, and its forward pass over them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from symdiag import formats
from symdiag.arrays import Array
from symdiag.errors import InputError, UsageError
from symdiag.posterior import Posterior
from symdiag.symmetry.discovery import Symmetry
from symdiag.tasks.options import ReadingOptions
from symdiag.training.data import Dataset, load_data
from symdiag.training.learning_problem import Forward

DataSource: TypeAlias = Any
"""A file, a ``Dataset``, or a pair (inputs, targets) of arrays or tensors."""


def forward_pass(posterior: Posterior, symmetry: Symmetry) -> Forward:
    """The forward pass with the checkpoint's buffers alongside the drawn weights.

    Raises:
        UsageError: ``forward-undetermined``: neither the file nor the options say what the network
            computes.
    """
    forward = symmetry.forward
    if forward is None:
        raise UsageError(
            "the network's outputs cannot be computed from the file alone",
            code="forward-undetermined",
            hint="give --activation for a plain chain, or the module with --model "
            "package.module:factory",
        )
    stored = {name: torch.from_numpy(value) for name, value in posterior.buffers.items()}

    def run(weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        first = next(iter(weights.values()))
        # buffers have no draw axis: every draw of the weights sees the same ones
        buffers = {
            name: value.to(first).expand(len(first), *value.shape) for name, value in stored.items()
        }
        return _by_point(forward({**buffers, **weights}, inputs), len(first), inputs)

    return run


def _by_point(outputs: Tensor, draws: int, inputs: Tensor) -> Tensor:
    """Outputs as (S, N, d): a module may drop the axis of one output, or have several.

    Raises:
        InputError: ``bad-data`` where there is no row for each point.
    """
    count = len(inputs)
    if outputs.numel() % (draws * count) or (outputs.ndim > 2 and outputs.shape[1] != count):
        raise InputError(
            f"for {count} points of shape {tuple(inputs.shape[1:])} the network returns outputs of "
            f"shape {tuple(outputs.shape[1:])}: not one row for each point",
            code="bad-data",
            hint="The first axis of inputs and outputs must be that of the points (batch_first).",
        )
    return outputs.reshape(draws, count, -1)


def network_data(
    data: DataSource, target: str | None, posterior: Posterior, symmetry: Symmetry
) -> Dataset:
    """The data set, flattened to rows where the network is a chain of linear layers.

    A module gets the points as they are, if it takes them.
    """
    dataset = as_dataset(data, target)
    network = symmetry.chain
    if dataset.inputs.ndim < 3 or network is None or not network.is_mlp:
        return dataset
    if symmetry.provenance.source == "module" and _takes(posterior, symmetry, dataset.inputs):
        return dataset
    return dataclasses.replace(dataset, inputs=dataset.inputs.reshape(len(dataset), -1))


def _takes(posterior: Posterior, symmetry: Symmetry, inputs: Array) -> bool:
    """Whether the forward pass goes through on the first points, as they are."""
    weights = {name: torch.tensor(loc)[None] for name, loc in posterior.loc.items()}
    try:
        with torch.no_grad():
            forward_pass(posterior, symmetry)(weights, torch.tensor(inputs[:2]))
    except (RuntimeError, ValueError, IndexError, InputError):  # whatever the module raises
        return False
    return True


def example_inputs(
    posterior: Posterior, reading: ReadingOptions, data: DataSource | None, target: str | None
) -> Array | None:
    """The data's inputs (N, ...), where a module is to be shown what it takes; else None."""
    traced = reading.model is not None or formats.network_of(posterior) is not None
    return as_dataset(data, target).inputs if traced and data is not None else None


def as_dataset(data: DataSource, target: str | None = None) -> Dataset:
    """The data set that ``data`` is or names."""
    if isinstance(data, Dataset):
        return data
    if isinstance(data, str | Path):
        return load_data(data, target=target)
    inputs, targets = (
        np.asarray(part.detach().cpu() if isinstance(part, Tensor) else part, dtype=np.float64)
        for part in data
    )
    return Dataset(inputs, targets)
