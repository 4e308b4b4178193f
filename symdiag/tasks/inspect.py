"""``symdiag.inspect``: what a checkpoint holds and its symmetries, without estimates."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symdiag.errors import InputError, UsageError
from symdiag.formats import atomic_write, read_header
from symdiag.network import (
    Network,
    Provenance,
    chain_provenance,
    infer_network,
    pickled_network,
    states_chain,
)
from symdiag.posterior import Posterior
from symdiag.report.kinds.inspect import GroupOutline, Inspection, StoredTensor, WeightTensor
from symdiag.report.parts import ErrorObject, LayerInfo, NetworkInfo
from symdiag.symmetry.inference import infer_spec
from symdiag.symmetry.spec import PermutationSpec
from symdiag.symmetry.specfile import format_spec, read_spec
from symdiag.tasks._inputs import TOOL, find_symmetry, network_info, read, run_info
from symdiag.tasks.keywords import flat
from symdiag.tasks.options import NetworkOptions, ReadingOptions


@dataclass(frozen=True)
class _Outline:
    """Network and groups of a posterior."""

    network: Network | None
    spec: PermutationSpec
    notes: tuple[str, ...]
    activation: str | None
    known: NetworkInfo


@flat
def inspect(
    source: str | Path,
    *,
    reading: ReadingOptions = ReadingOptions(),
    write_spec: Path | None = None,
) -> Inspection:
    """Container, tensors, posterior stds, architecture and symmetry groups of a checkpoint.

    Args:
        source: Checkpoint file.
        reading: The network, and what the file leaves open.
        write_spec: Where to write the permutation spec found, for editing (TOML).

    Returns:
        What could be seen; its ``problem`` says why there is no more, if there is not.

    Raises:
        SymdiagError: The file is no container that symdiag reads, or an option is wrong.
    """
    started = time.time()
    path = Path(source)
    # outside the try: without a header there is nothing to show, and the error is the answer
    header = read_header(path)
    posterior = outline = problem = None
    try:
        posterior = read(path, reading)
        outline = _outline(posterior, reading)
    # what could be seen until then is shown all the same
    except InputError as error:
        problem = ErrorObject(error.code, error.message, error.hint)
    if write_spec is not None and outline is not None:
        _write_spec(outline.spec, write_spec)
    container, entries, metadata = header
    return Inspection(
        path=str(path),
        container=container,
        stored=tuple(StoredTensor(e.key, tuple(e.shape), e.dtype) for e in entries),
        tool=TOOL,
        metadata=dict(metadata),
        **({} if posterior is None else _of_posterior(posterior)),
        **({} if outline is None else _of_network(outline)),
        verified=outline is not None and reading.model is not None,
        assumptions=_assumptions(posterior, outline),
        problem=problem,
        run=run_info(started),
    )


def _outline(posterior: Posterior, network: NetworkOptions) -> _Outline:
    """Network and groups; torch is imported only where a model has to be traced."""
    if network.model is not None:
        found = find_symmetry(posterior, network, seed=0)
        dropped = (f"left out: {failure.message}" for failure in found.failures)
        notes = (*found.notes, *dropped)
        return _Outline(found.network, found.spec, notes, found.activation, network_info(found))
    if network.spec is not None:
        written = read_spec(network.spec, posterior)
        stated = network.activation or "as the spec file says (--spec)"
        known = NetworkInfo("spec", f"as {network.spec.name} says")
        return _Outline(None, written, written.notes, stated, known)
    # not verified here: the check needs a forward pass, hence torch
    chain = infer_network(posterior, activation=network.activation)
    inferred = infer_spec(posterior, chain)
    how = chain_provenance(chain.layers, stated=states_chain(posterior))
    if why := pickled_network(posterior):
        how = Provenance("pickled-module", why)
    accepted = network.assume_chain and how.source == "assumed"
    known = NetworkInfo(how.source, how.why, accepted)
    return _Outline(chain, inferred, inferred.notes, chain.activation, known)


def _of_posterior(posterior: Posterior) -> dict[str, Any]:
    """The fields that the posterior tells, whatever its network may be."""
    source = posterior.source
    assert source is not None
    # zero marks a deterministic weight, which has no std to report
    positive = {name: scale[scale > 0] for name, scale in posterior.scale.items()}
    ranges = {name: (float(s.min()), float(s.max())) for name, s in positive.items() if s.size}
    lows, highs = [low for low, _ in ranges.values()], [high for _, high in ranges.values()]
    return {
        "sha256": source.sha256,
        "dialect": source.dialect,
        "scale_transform": source.scale_transform,
        "scale_range": (min(lows), max(highs)) if ranges else None,
        "parameters": posterior.num_parameters,
        "tensors": tuple(
            WeightTensor(n, shape, *ranges.get(n, (None, None)))
            for n, shape in posterior.shapes.items()
        ),
        "ignored": tuple((i.key, i.reason) for i in source.ignored),
    }


def _of_network(outline: _Outline) -> dict[str, Any]:
    """The fields that the network and its groups tell."""
    layers = () if outline.network is None else outline.network.layers
    return {
        "activation": outline.activation,
        "network": outline.known,
        "layers": tuple(LayerInfo(x.name, x.kind, x.shape) for x in layers),
        "groups": tuple(
            GroupOutline(g.name, g.width, g.signed, g.log_order, g.tensors) for g in outline.spec
        ),
        "log_order": outline.spec.log_order,
    }


def _assumptions(posterior: Posterior | None, outline: _Outline | None) -> tuple[str, ...]:
    read_from = () if posterior is None or posterior.source is None else posterior.source.notes
    return tuple(dict.fromkeys((*read_from, *(() if outline is None else outline.notes))))


def _write_spec(spec: PermutationSpec, path: Path) -> None:
    if not len(spec):
        raise UsageError("no group was found, so there is no spec to write", code="bad-spec")
    # never over an existing spec: it may have been edited by hand
    atomic_write(path, format_spec(spec).encode("utf-8"), overwrite=False)
