"""What was read, as ``analyze`` and ``retrain`` report it."""

from __future__ import annotations

import numpy as np

from symdiag.posterior import Posterior
from symdiag.report.kinds.analyze import ModelInfo
from symdiag.report.parts import LayerInfo, Uncovered
from symdiag.symmetry.discovery import Symmetry


def model_info(posterior: Posterior, symmetry: Symmetry) -> ModelInfo:
    """What was read, and how much of it the symmetry group covers."""
    source = posterior.source
    random = np.concatenate([s[s > 0] for s in posterior.scale.values()] or [np.zeros(0)])
    network = symmetry.network
    layers = (
        () if network is None else tuple(LayerInfo(x.name, x.kind, x.shape) for x in network.layers)
    )
    return ModelInfo(
        path=source.path if source else "<posterior>",
        sha256=source.sha256 if source else "",
        format=f"{source.container}/{source.dialect}" if source else "python",
        parameters=posterior.num_parameters,
        covered_parameters=sum(
            v.size - symmetry.spec.left_out(n, v.shape) for n, v in posterior.loc.items()
        ),
        activation=symmetry.activation,
        layers=layers,
        scale_transform=source.scale_transform if source else "",
        scale_range=(float(random.min()), float(random.max())) if random.size else None,
        deterministic_parameters=posterior.num_parameters - random.size,
        uncovered=tuple(Uncovered(*u) for u in symmetry.uncovered),
        ignored=tuple((i.key, i.reason) for i in source.ignored) if source else (),
        assumptions=tuple(dict.fromkeys((source.notes if source else ()) + symmetry.notes)),
    )
