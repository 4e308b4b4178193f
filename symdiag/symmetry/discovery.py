"""The one entry point of the analysis: from a posterior to a verified permutation spec."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from symdiag.errors import SymdiagError, UsageError
from symdiag.network import Network, infer_network
from symdiag.posterior import Posterior
from symdiag.symmetry.inference import infer_spec
from symdiag.symmetry.spec import PermutationSpec
from symdiag.symmetry.verification import Failure, verify

Uncovered = tuple[str, int, str]
"""``(tensor, number of parameters, reason)`` of a tensor that no group touches."""


@dataclass(frozen=True)
class Symmetry:
    """What is known of a posterior's symmetry group.

    ``network`` is None when a spec file or a traced module describes a net that is no chain. ``spec`` holds the
    verified groups. ``notes`` lists assumptions and what could not be checked. ``uncovered`` lists tensors outside
    every group. ``forward`` maps ``(weights, inputs)`` torch tensors, with a leading draw axis or without, to
    outputs; None when the computation is not determined.
    """

    network: Network | None
    spec: PermutationSpec
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    uncovered: tuple[Uncovered, ...] = ()
    forward: Callable[..., Any] | None = None


def discover(
    posterior: Posterior,
    *,
    activation: str | None = None,
    model: str | None = None,
    spec_file: Path | None = None,
    generator: np.random.Generator,
) -> Symmetry:
    """The verified symmetry group of a posterior's network.

    Args:
        posterior: the tensors.
        activation: activation between layers, if known.
        model: ``package.module:factory`` of the user's own module, traced for its structure and used for forward.
        spec_file: a hand-written spec; overrides what inference would find.
        generator: random inputs and group elements of the verification.

    Returns:
        Groups that were seen to hold, with everything assumed or refused.

    Raises:
        InputError: the tensors do not form a network that can be read (``broken-chain``).
        UsageError: an option is wrong.
    """
    if model is not None or spec_file is not None:
        raise UsageError("--model and --spec are not available yet", code="not-implemented")
    network = infer_network(posterior, activation=activation)
    spec = infer_spec(posterior, network)
    forward_fn = _numpy_forward(network, generator)
    checked = verify(spec, posterior, forward_fn, generator) if forward_fn else None
    kept = checked.kept if checked else spec
    return Symmetry(
        network,
        kept,
        checked.failures if checked else (),
        spec.notes,
        uncovered_tensors(posterior, kept),
        _forward(network),
    )


def uncovered_tensors(posterior: Posterior, spec: PermutationSpec) -> tuple[Uncovered, ...]:
    """Tensors of the posterior that no group of ``spec`` touches."""
    covered = {name for group in spec for name in group.tensors}
    reason = "belongs to units that stay fixed (inputs, outputs, or units outside every group)"
    return tuple((name, loc.size, reason) for name, loc in posterior.loc.items() if name not in covered)


def _forward(network: Network) -> Callable[..., Any] | None:
    if not network.is_mlp or (network.activation is None and len(network.layers) > 1):
        return None

    def run(weights: Mapping[str, Any], inputs: Any) -> Any:
        from symdiag.network import forward

        return forward(network, weights, None, inputs)

    return run


def _numpy_forward(network: Network, generator: np.random.Generator) -> Any:
    """Outputs on random inputs, float64; an unknown activation is stood in for by softplus (not odd)."""
    import dataclasses

    import torch

    from symdiag.network import forward

    if not all(layer.kind in {"linear", "batchnorm", "layernorm"} and layer.inner == 1 for layer in network.layers):
        return None
    stand_in = dataclasses.replace(network, activation=network.activation or "softplus")
    inputs = torch.from_numpy(generator.standard_normal((16, network.layers[0].in_features)))

    def run(weights: Mapping[str, Any], buffers: Mapping[str, Any]) -> Any:
        with torch.no_grad():
            tensors = [{k: torch.from_numpy(v) for k, v in part.items()} for part in (weights, buffers)]
            return forward(stand_in, tensors[0], tensors[1], inputs).numpy()

    return run


__all__ = ["SymdiagError", "Symmetry", "discover", "uncovered_tensors"]
