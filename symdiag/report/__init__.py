"""Reports: the dataclass that is the JSON contract, its schema, and one renderer per format."""

from symdiag.report.document import RenderOptions
from symdiag.report.model import SCHEMA_VERSION, Report
from symdiag.report.render import Failure, format_names, format_of, from_dict, render, render_all

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
