"""NumPyro's guides over one flat vector: AutoDiagonalNormal, AutoLowRankMultivariateNormal,
AutoMultivariateNormal.

As Pyro's, but constrained: ``auto_scale`` is s itself, ``auto_cov_factor`` F gives (sF)(sF)^T +
diag(s^2), and ``auto_scale_tril`` is the covariance's whole Cholesky factor. The vector holds the
latent variables in alphabetical order (``b1``, ``b2``, ``w1``, ``w2``); ``model_shapes`` must list
them so.
"""

from __future__ import annotations

from symdiag.arrays import Arrays
from symdiag.errors import UnsupportedError
from symdiag.formats.dialects.pyro_flat import PyroFlat
from symdiag.formats.interface import SHAPES_HINT, RawCheckpoint, ReadOptions
from symdiag.formats.members import FlatGuide
from symdiag.formats.transforms import IDENTITY
from symdiag.posterior import Posterior

_LOC, _SCALE, _FACTOR, _TRIL = "auto_loc", "auto_scale", "auto_cov_factor", "auto_scale_tril"


class NumpyroFlat(PyroFlat):
    """One vector of means, with a vector of stds, a low-rank factor or a triangle."""

    name = "numpyro-flat"
    priority = 62
    transform = IDENTITY

    def keys(self, arrays: Arrays) -> FlatGuide | None:
        """The keys of the guide, if there is one."""
        if (
            _LOC not in arrays
            or arrays[_LOC].ndim != 1
            or not (_SCALE in arrays or _TRIL in arrays)
        ):
            return None
        # priority above Pyro's: the names begin alike and the values are constrained here
        return FlatGuide(
            "auto_", _LOC, *(key if key in arrays else None for key in (_SCALE, _FACTOR, _TRIL))
        )

    def read(self, raw: RawCheckpoint, arrays: Arrays, options: ReadOptions) -> Posterior:
        """As Pyro's.

        Raises UnsupportedError ``order-unknown`` too: no second file has the order of the vector.
        """
        if options.model_shapes is None and options.companion is not None:
            raise UnsupportedError(
                "a companion does not tell the order of NumPyro's flat vector, which is "
                "alphabetical by site",
                code="order-unknown",
                hint=SHAPES_HINT,
            )
        return super().read(raw, arrays, options)

    def matches(self, raw: RawCheckpoint, arrays: Arrays) -> bool:
        """Whether the guide's own names are there."""
        return self.keys(arrays) is not None


DIALECT = NumpyroFlat()
