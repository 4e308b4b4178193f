"""posteriors (Normal Computing): a state of diagonal variational inference."""

from __future__ import annotations

from typing import Any

from symdiag.formats.interface import Held
from symdiag.formats.objects.mapping import plain

priority = 50


def matches(source: Any) -> bool:
    """Whether ``source`` has the two parallel trees of means and log stds."""
    return hasattr(source, "params") and hasattr(source, "log_sd_diag")


def held(source: Any) -> Held:
    """The two trees as a dict, which is what its states are written back as."""
    return Held({part: _tree(getattr(source, part)) for part in ("params", "log_sd_diag")})


def _tree(value: Any) -> Any:
    # a TensorDict is no Mapping
    return plain(value.to_dict() if hasattr(value, "to_dict") else value)
