"""Which torch devices densities can be computed on."""

from __future__ import annotations

import re

import torch

from symdiag.errors import UsageError


def check_device(device: str) -> None:
    """Refuse a device that is unknown or not there.

    Raises:
        UsageError: ``bad-option`` for anything but cpu, or a CUDA device that this machine has.
    """
    if device == "cpu":
        return
    found = re.fullmatch(r"cuda(?::(\d+))?", device)
    if found is None:
        raise UsageError(
            f"unknown --device {device!r}", code="bad-option", hint="cpu, cuda or cuda:N"
        )
    count = torch.cuda.device_count()
    if int(found[1] or 0) >= count:
        has = (
            f"only {count} CUDA device{'s' if count > 1 else ''}"
            if count
            else "no CUDA device that torch can use"
        )
        raise UsageError(
            f"--device {device}: this machine has {has}", code="bad-option", hint="use --device cpu"
        )
