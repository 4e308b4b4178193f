"""Former place of ``ERROR_CODES``; goes as soon as nothing imports it."""

from symdiag.errors import ERROR_CODES

__all__ = ["ERROR_CODES"]
