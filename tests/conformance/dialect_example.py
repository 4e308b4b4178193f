"""What a dialect's example file gives to the conformance suite."""

import math
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

from symdiag.formats.interface import RawCheckpoint, ReadOptions

SHAPES = {"fc1.weight": (4, 3), "fc1.bias": (4,), "fc2.weight": (2, 4), "fc2.bias": (2,)}


@dataclass(frozen=True)
class Example:
    """A small tree as the library writes it, and the Gaussian it means by the library's documentation.

    ``wraps``: whether the tree may also be found under ``{"state_dict": …}``. ``half``: whether half precision is fine.
    """

    tree: object
    loc: dict
    scale: dict
    options: ReadOptions = field(default_factory=ReadOptions)
    wraps: bool = True
    half: bool = True


def values(offset, low, high, shapes=None):
    """Name → float32 numbers spread over [low, high], all different."""
    shapes = shapes or SHAPES
    out, rng = {}, np.random.default_rng(offset)
    for name, shape in shapes.items():
        out[name] = rng.uniform(low, high, shape).astype(np.float32)
    return out


def apply(function, arrays):
    """Name → float64 array of a scalar function of every number: plain Python, no numpy formulas."""
    return {
        name: np.array([function(float(v)) for v in array.reshape(-1)]).reshape(array.shape)
        for name, array in arrays.items()
    }


def softplus(rho):
    return math.log(1.0 + math.exp(rho))


def keyed(loc_key, scale_key, transform, *, low=-4.0, high=1.0, shapes=None, extra=None):
    """An example for a library with a mean and a scale key per tensor; templates hold {layer} and {part}."""
    means, scales = values(1, -1.0, 1.0, shapes), values(2, low, high, shapes)
    tree = OrderedDict()
    for name in means:
        layer, part = name.split(".")
        tree[loc_key.format(layer=layer, part=part)] = means[name]
        tree[scale_key.format(layer=layer, part=part)] = scales[name]
        for key, array in (extra(layer, part, means[name], scales[name]) if extra else {}).items():
            tree[key] = array
    return Example(tree, apply(float, means), apply(transform, scales))


def raw_of(tree, **more):
    """A checkpoint that holds ``tree``."""
    return RawCheckpoint("example.pt", "0" * 64, "torch-zip", tree, **more)
