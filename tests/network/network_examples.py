"""Posteriors built by hand from shapes, and the recorded shapes of the real checkpoints."""

import itertools
import json
from pathlib import Path

import numpy as np

from symdiag.posterior import Posterior, Source

DATA = Path(__file__).parents[1] / "data" / "networks"
ZOO = json.loads((DATA / "zoo.json").read_text(encoding="utf-8"))


def posterior_of(
    shapes, *, buffers=None, metadata=None, dialect="handwritten", container="torch-zip"
):
    """A posterior of the given shapes that takes no memory; values are all zero."""
    loc = {name: np.broadcast_to(np.zeros(()), tuple(shape)) for name, shape in shapes.items()}
    scale = {name: np.broadcast_to(np.ones(()), tuple(shape)) for name, shape in shapes.items()}
    held = {
        name: np.broadcast_to(np.ones(()), tuple(shape)) for name, shape in (buffers or {}).items()
    }
    source = Source("model.pt", "0" * 64, container, dialect, "softplus", metadata=metadata or {})
    return Posterior(loc, scale, held, source=source)


def random_posterior(shapes, generator, *, buffers=None):
    """A posterior of the given shapes with random means and stds; buffers positive."""
    loc = {name: generator.standard_normal(shape) for name, shape in shapes.items()}
    scale = {name: generator.uniform(0.1, 1.0, shape) for name, shape in shapes.items()}
    held = {name: generator.uniform(0.5, 1.5, shape) for name, shape in (buffers or {}).items()}
    return Posterior(loc, scale, held)


def mlp_shapes(*widths, bias=True):
    """Shapes of fc1, fc2, ... in PyTorch layout."""
    shapes = {}
    for k, (units_in, units_out) in enumerate(itertools.pairwise(widths), start=1):
        shapes[f"fc{k}.weight"] = (units_out, units_in)
        if bias:
            shapes[f"fc{k}.bias"] = (units_out,)
    return shapes
