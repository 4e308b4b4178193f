"""Reports: one declaration per kind, one view of it, one renderer per format."""

from symdiag.report.codec import SCHEMA_VERSION
from symdiag.report.document import RenderOptions
from symdiag.report.kinds import from_dict
from symdiag.report.kinds.analyze import Report
from symdiag.report.render import Failure, format_names, format_of, render, render_all

__all__ = [
    "SCHEMA_VERSION",
    "Failure",
    "RenderOptions",
    "Report",
    "format_names",
    "format_of",
    "from_dict",
    "render",
    "render_all",
]
