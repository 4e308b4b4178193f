"""JSON: the contract that scripts and CI read. ASCII only, so no locale can break it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from symdiag.report.codec import SCHEMA_VERSION
from symdiag.report.document import RenderOptions

if TYPE_CHECKING:
    from symdiag.report.rendering import Entry

EXTENSIONS = (".json",)


def render(entries: Sequence[Entry], options: RenderOptions) -> str:
    """One object for one entry, ``{"schema_version", "reports": […]}`` for any other number."""
    objects = [entry.data for entry in entries]
    # A lone error is the contract's error object; its path is only needed to tell many apart.
    if len(objects) == 1:
        return dumps(
            {k: v for k, v in objects[0].items() if not ("error" in objects[0] and k == "path")}
        )
    return dumps({"schema_version": SCHEMA_VERSION, "reports": objects})


def dumps(data: dict[str, Any]) -> str:
    """Indented JSON that ends in a newline.

    Raises:
        ValueError: A number is not finite (the contract has null for those).
    """
    # allow_nan=False: NaN and Infinity are no JSON, and most other readers stop there
    return json.dumps(data, indent=2, ensure_ascii=True, allow_nan=False) + "\n"
