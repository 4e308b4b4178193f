"""Former place of ``symdiag.errors``; goes as soon as nothing imports it."""

from symdiag.errors import Explanation

__all__ = ["Explanation"]
