"""``symdiag inspect``: what a checkpoint holds and which symmetries it has, without estimating anything."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from symdiag.cli import _options as opt
from symdiag.cli._exits import NO_VERDICT, OK
from symdiag.cli._output import emit, resolve_output
from symdiag.errors import InputError, UsageError

if TYPE_CHECKING:
    from symdiag.posterior import Posterior
    from symdiag.report.inspection import Inspection

EXAMPLE = "Example: symdiag inspect posterior.safetensors --write-spec spec.toml"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        "inspect", short_help="Show what a checkpoint holds and its symmetry group.", epilog=EXAMPLE
    )(inspect)


def inspect(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Checkpoint to look into.")],
    format: opt.Format = None,
    output: opt.Output = None,
    activation: opt.Activation = None,
    scale_transform: opt.ScaleTransform = None,
    companion: opt.Companion = None,
    model: opt.Model = None,
    spec: opt.Spec = None,
    write_spec: Annotated[
        Path | None,
        typer.Option("--write-spec", help="Write the permutation spec found, for editing (TOML)."),
    ] = None,
    color: opt.Color = "auto",
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    debug: opt.Debug = False,
) -> int:
    """Show container, tensors, posterior stds, architecture and symmetry groups of a checkpoint.

    Exits 2 when the file is no posterior that can be read; what could be seen is shown all the same.
    """
    out = resolve_output(format, output or (), color, quiet, verbose, [path])
    inspection = _header(path)
    try:
        posterior = _posterior(path, scale_transform, companion)
        inspection = _described(inspection, posterior)
        network, found, notes, known = _symmetry(posterior, activation, model, spec)
    except InputError as error:
        from symdiag.report.inspection import Problem

        problem = Problem(error.code, error.message, error.hint)
        emit(out, [dataclasses.replace(inspection, problem=problem)])
        return NO_VERDICT
    inspection = _with_groups(inspection, network, found, notes, known, verified=model is not None)
    if write_spec is not None:
        _write_spec(found, write_spec)
    emit(out, [inspection])
    return OK


def _header(path: Path) -> Inspection:
    from symdiag._version import __version__
    from symdiag.formats.reading import read_header
    from symdiag.report.inspection import Inspection, StoredTensor

    container, entries, metadata = read_header(path)
    stored = tuple(StoredTensor(e.key, tuple(e.shape), e.dtype) for e in entries)
    tool = {"name": "symdiag", "version": __version__}
    return Inspection(
        path=str(path), container=container, stored=stored, tool=tool, metadata=dict(metadata)
    )


def _posterior(path: Path, scale_transform: str | None, companion: Path | None) -> Posterior:
    from symdiag import formats

    return formats.load(path, scale_transform=scale_transform, companion=companion)


def _symmetry(
    posterior: Posterior, activation: str | None, model: str | None, spec: Path | None
) -> tuple[Any, ...]:
    """Network, spec, assumptions and activation; torch is imported only where a model has to be traced."""
    if model is not None:
        import numpy as np

        from symdiag.symmetry.discovery import discover

        found = discover(
            posterior,
            activation=activation,
            model=model,
            spec_file=spec,
            generator=np.random.default_rng(0),
        )
        dropped = (f"left out: {failure.message}" for failure in found.failures)
        return found.network, found.spec, (*found.notes, *dropped), found.activation
    if spec is not None:
        from symdiag.symmetry.specfile import read_spec

        written = read_spec(spec, posterior)
        return None, written, written.notes, activation or "as the spec file says (--spec)"
    from symdiag.network import infer_network
    from symdiag.symmetry.inference import infer_spec

    network = infer_network(posterior, activation=activation)
    inferred = infer_spec(posterior, network)
    return network, inferred, inferred.notes, network.activation


def _described(seen: Inspection, posterior: Posterior) -> Inspection:
    """The inspection with what the posterior tells, whatever its network may be."""
    from symdiag.report.inspection import WeightTensor

    source = posterior.source
    assert source is not None
    positive = {name: scale[scale > 0] for name, scale in posterior.scale.items()}
    ranges = {name: (float(s.min()), float(s.max())) for name, s in positive.items() if s.size}
    tensors = (
        WeightTensor(n, shape, *ranges.get(n, (None, None)))
        for n, shape in posterior.shapes.items()
    )
    return dataclasses.replace(
        seen,
        sha256=source.sha256,
        dialect=source.dialect,
        scale_transform=source.scale_transform,
        scale_range=(min(low for low, _ in ranges.values()), max(h for _, h in ranges.values()))
        if ranges
        else None,
        parameters=posterior.num_parameters,
        tensors=tuple(tensors),
        ignored=tuple((i.key, i.reason) for i in source.ignored),
        assumptions=tuple(dict.fromkeys(source.notes)),
    )


def _with_groups(
    seen: Inspection,
    network: Any,
    spec: Any,
    notes: tuple[str, ...],
    activation: str,
    *,
    verified: bool,
) -> Inspection:
    """The inspection with the network and its groups."""
    from symdiag.report.inspection import GroupOutline
    from symdiag.report.model import LayerInfo

    layers = (
        () if network is None else tuple(LayerInfo(x.name, x.kind, x.shape) for x in network.layers)
    )
    return dataclasses.replace(
        seen,
        activation=activation,
        verified=verified,
        layers=layers,
        groups=tuple(GroupOutline(g.name, g.width, g.signed, g.log_order, g.tensors) for g in spec),
        log_order=spec.log_order,
        assumptions=tuple(dict.fromkeys((*seen.assumptions, *notes))),
    )


def _write_spec(spec: Any, path: Path) -> None:
    from symdiag.formats.atomic import atomic_write
    from symdiag.symmetry.specfile import format_spec

    if not len(spec):
        raise UsageError("no group was found, so there is no spec to write", code="bad-spec")
    atomic_write(path, format_spec(spec).encode("utf-8"), overwrite=False)
