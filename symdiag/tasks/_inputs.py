"""What every task begins with: posteriors read, symmetry found, the note of how it ran."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np

from symdiag import formats
from symdiag._version import __version__
from symdiag.arrays import Array
from symdiag.errors import InputError, OutputError, UsageError
from symdiag.posterior import Posterior
from symdiag.report.kinds.analyze import ModelInfo
from symdiag.report.parts import LayerInfo, NetworkInfo, Uncovered
from symdiag.symmetry.discovery import Symmetry, discover
from symdiag.tasks._commands import read_with
from symdiag.tasks.options import NetworkOptions, ReadingOptions

Source: TypeAlias = Any
"""A checkpoint file, a live object (see ``symdiag.formats.objects``), or a posterior."""

Progress: TypeAlias = Callable[[str, float], None]
"""``progress(stage, done)`` with ``done`` in [0, 1]."""

TOOL = {"name": "symdiag", "version": __version__}
log = logging.getLogger("symdiag")


def read(source: Source, reading: ReadingOptions) -> Posterior:
    """One posterior."""
    return read_all([source], reading)[0]


def read_all(sources: Sequence[Source], reading: ReadingOptions) -> list[Posterior]:
    """Posteriors in their order, each with its companion file, or its member of the file."""
    each = reading.each(len(sources))
    return [_read(source, own) for source, own in zip(sources, each, strict=True)]


def _read(source: Source, reading: ReadingOptions) -> Posterior:
    if isinstance(source, Posterior):
        return source
    started = time.perf_counter()
    found = formats.load(
        source,
        scale_transform=reading.scale_transform,
        companion=reading.companion,
        member=cast("str | None", reading.member),  # one of `each`
    )
    if found.source is not None:
        log.debug(
            "read %s: %s/%s, %d weights in %d tensors, stds by %s (%.2f s)",
            found.source.path,
            found.source.container,
            found.source.dialect,
            found.num_parameters,
            len(found.loc),
            found.source.scale_transform,
            time.perf_counter() - started,
        )
    return found


def find_symmetry(
    posterior: Posterior, network: NetworkOptions, seed: int, inputs: Array | None = None
) -> Symmetry:
    """The verified symmetry group; its verification draws the same numbers in every task.

    A posterior of a live object brings that object's network, unless ``network`` names another.
    ``inputs`` are the data's (N, ...), where there are any: they show what a module takes.
    """
    live = formats.network_of(posterior) if network.model is None else None
    if live is None:
        return _discovered(posterior, network, seed, inputs)
    try:
        return _discovered(posterior, replace(network, model=live), seed, inputs)
    except InputError as error:
        # its tensors may still form a network that can be read, as those of its file would
        log.debug("%s: %s", type(live).__name__, error.message)
        try:
            found = _discovered(posterior, network, seed, inputs)
        except InputError:
            # what keeps the module from being followed is what its owner can mend
            raise error from None
        guessed = found.provenance.source == "assumed" and not network.assume_chain
        if guessed and error.code == "example-input-needed":
            raise  # the module is at hand: asking for one input beats assuming a network
        note = f"the module {type(live).__name__} could not be used: {error.message}"
        return replace(found, notes=(*found.notes, note))


def _discovered(
    posterior: Posterior, network: NetworkOptions, seed: int, inputs: Array | None
) -> Symmetry:
    started = time.perf_counter()
    found = discover(
        posterior,
        activation=network.activation,
        model=network.model,
        spec_file=network.spec,
        assume_chain=network.assume_chain,
        inputs=inputs,
        generator=np.random.default_rng([seed, 7]),
    )
    log.debug(
        "network: %s (%s), activation %s; groups: %s (%.2f s)",
        "not a plain chain" if found.network is None else f"{len(found.network.layers)} layers",
        found.provenance.source,
        found.activation or "unknown",
        ", ".join(f"{g.name} ({g.width}{', signed' if g.signed else ''})" for g in found.spec)
        or "none",
        time.perf_counter() - started,
    )
    for failure in found.failures:
        log.debug("left out: %s", failure.message)
    return found


def network_info(symmetry: Symmetry) -> NetworkInfo:
    """How the network is known, for a report."""
    known = symmetry.provenance
    return NetworkInfo(known.source, known.why, known.accepted and known.source == "assumed")


def dropped_groups(symmetry: Symmetry) -> tuple[str, ...]:
    """One sentence for each group whose permutations change the network's outputs."""
    return tuple(
        f"group {f.group} was dropped: its permutations change the outputs"
        for f in symmetry.failures
    )


def check_output(
    path: Path | None,
    inputs: Iterable[str | Path],
    *,
    overwrite: bool | None,
    code: str = "would-overwrite",
) -> None:
    """Refuse a file that is an input, is there already or has no folder, before any work is done.

    ``overwrite``: None where the task never replaces a file.

    Raises:
        UsageError: It is an input (``code``).
        OutputError: ``exists``, or ``write-failed`` for a missing folder.
    """
    if path is None:
        return
    # realpath: a link to the input is the input
    if os.path.realpath(path) in {os.path.realpath(p) for p in inputs}:
        raise UsageError(f"{path} is an input", code=code, hint="choose another -o FILE")
    if path.exists() and not overwrite:
        hint = "choose another name" + ("" if overwrite is None else ", or give --overwrite")
        raise OutputError(f"{path} exists already", code="exists", hint=hint)
    if not Path(os.path.realpath(path)).parent.is_dir():
        raise OutputError(f"the folder of {path} does not exist", hint="create it first")


def run_info(started: float) -> dict[str, Any]:
    """Everything volatile about a run that began at ``started``; torch is not imported for it."""
    seconds = round(time.time() - started, 3)
    log.debug("done in %.3f s", seconds)
    return {
        "started": datetime.fromtimestamp(started, timezone.utc).isoformat(timespec="seconds"),
        "seconds": seconds,
        "python": platform.python_version(),
        "numpy": np.__version__,
        # from the metadata: importing torch would cost inspect a second
        "torch": _version("torch"),
        "host": platform.platform(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def model_info(posterior: Posterior, symmetry: Symmetry, reading: ReadingOptions) -> ModelInfo:
    """What was read, and how much of it the symmetry group covers."""
    source = posterior.source
    # a std of zero is no scale but the mark of a deterministic weight
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
        read_with=read_with(reading),
    )
