"""``symdiag.analyze_samples``: label switching in draws of a network's weights."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from symdiag.alignment import (
    Chance,
    SampleAlignment,
    align_samples,
    chance_of_draws,
    relabelled,
)
from symdiag.arrays import Array
from symdiag.errors import InputError
from symdiag.estimators import estimate_straddling
from symdiag.formats import (
    RawCheckpoint,
    WeightSamples,
    all_containers,
    atomic_write,
    load_samples,
)
from symdiag.formats.inference_data import inference_data
from symdiag.posterior import Posterior
from symdiag.report.kinds.samples import (
    SamplesReport,
)
from symdiag.report.notebook import Reported
from symdiag.symmetry.discovery import Symmetry
from symdiag.tasks._inputs import (
    Progress,
    check_output,
    find_symmetry,
    log,
)
from symdiag.tasks._samples_report import samples_report
from symdiag.tasks.keywords import flat
from symdiag.tasks.options import DrawsOptions, NetworkOptions, WrittenOptions

_MAX_SIZE = 1e100


@dataclass(frozen=True, repr=False)
class SampleAnalysis(Reported):
    """The report, the draws in one labelling, and the draws' Gaussians before and after."""

    report: SamplesReport
    alignment: SampleAlignment
    draws: WeightSamples
    before: Posterior
    after: Posterior

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the aligned draws as npz: the file's keys → (draw, …); chains: (chain, draw, …).

        Raises:
            OutputError: it cannot be written, or the file exists and ``overwrite`` is False.
        """
        tree = self._tree(() if self.draws.chains is None else (self.draws.chains,))
        npz = next(c for c in all_containers() if c.name == "npz")
        atomic_write(
            Path(path), npz.encode(RawCheckpoint(str(path), "", "npz", tree)), overwrite=overwrite
        )

    def to_arviz(self) -> Any:
        """The aligned draws as ArviZ's InferenceData (DataTree from ArviZ 1 on), by the file's keys.

        Draws that nobody said to be chains are one chain. Running statistics are no draws of a
        parameter and stay out.

        Raises:
            UsageError: ``missing-extra`` without ArviZ.
        """
        buffers = {self.draws.keys.get(name, name) for name in self.draws.buffers}
        tree = self._tree((self.draws.chains or 1,))
        return inference_data({k: v for k, v in tree.items() if k not in buffers})

    def _tree(self, chains: tuple[int, ...]) -> dict[str, Array]:
        """The file's keys → (draw, …), or (chain, draw, …) for ``chains`` of one number."""
        found = self.draws
        # draws lie chain after chain: reshaping is all it takes
        return {
            found.keys.get(name, name): values.reshape(*chains, -1, *values.shape[1:])
            for name, values in {**found.draws, **found.buffers}.items()
        }


@flat
def analyze_samples(
    source: Any,
    *,
    drawing: DrawsOptions = DrawsOptions(),
    network: NetworkOptions = NetworkOptions(),
    written: WrittenOptions = WrittenOptions(),
    progress: Progress | None = None,
) -> SampleAnalysis:
    """Bring weight draws to one labelling and say how much of their spread was label switching.

    Args:
        source: Files, several with one draw each or one with all; the same in memory: modules,
            state dicts, a dict of stacked arrays, an InferenceData or DataTree; or WeightSamples.
        drawing: Chains, starts, seed, and the limit that counts as a finding.
        network: What the files do not say about the network.
        written: Where the draws in one labelling go, as npz.
        progress: Called with (stage, fraction done).

    Raises:
        SymdiagError: Bad input or options; ``code`` says which.
    """
    started = time.time()
    check_output(written.output, _files(source), overwrite=written.overwrite)
    drawn = _drawn(source, drawing.chains)
    # the Gaussian of unaligned draws: what its H loses by alignment is label switching
    raw = drawn.gaussian()
    found = _symmetry(raw, drawing, _with_module(network, source))
    if written.output is not None:
        found.provenance.require_groups("writing relabelled draws")
    aligned = _aligned(drawn, found, drawing, progress)
    # running statistics are no weights, but belong to units and move with them
    buffers = relabelled(drawn.buffers, found.spec, aligned.actions)
    moved = replace(drawn, draws=aligned.draws, buffers=buffers)
    after = moved.gaussian()
    # both entropies are over the same groups, hence comparable
    weights = found.spec.restricted(raw.loc)
    entropies = tuple(
        estimate_straddling(
            q, weights, samples=drawing.samples, seed=drawing.seed, progress=progress
        )
        for q in (raw, after)
    )
    chance = _chance(drawn, found, aligned, drawing)
    report = samples_report(drawn, found, aligned, entropies, chance, drawing, started)
    done = SampleAnalysis(report, aligned, moved, raw, after)
    if written.output is not None:
        done.save(written.output, overwrite=written.overwrite)
    return done


def _chance(
    drawn: WeightSamples, found: Symmetry, aligned: SampleAlignment, drawing: DrawsOptions
) -> Chance | None:
    """What relabelling removes from independent networks; not needed where it removed nothing."""
    if all(e.is_identity for action in aligned.actions for e in action.values()):
        return None
    chance = chance_of_draws(
        drawn.draws,
        found.spec,
        # a stream of its own: asking for more starts must not change the chance level
        generator=np.random.default_rng([drawing.seed, 17]),
    )
    log.debug("by chance: %s", chance)
    return chance


def _files(source: Any) -> list[str | Path]:
    items = source if isinstance(source, list | tuple) else [source]
    return [item for item in items if isinstance(item, str | Path)]


def _with_module(network: NetworkOptions, source: Any) -> NetworkOptions:
    """``network`` with the first of the draws as its module, where draws are modules."""
    first = source[0] if isinstance(source, list | tuple) and source else None
    # by what it offers, so that torch need not be imported to ask
    is_module = hasattr(first, "named_parameters") and hasattr(first, "forward")
    return replace(network, model=first) if is_module and network.model is None else network


def _drawn(source: Any, chains: bool) -> WeightSamples:
    found = load_samples(source, sample_axes=2 if chains else 1)
    log.debug("read %d draws of %d tensors", found.num_samples, len(found.draws))
    _check_size(found.draws)
    return found


def _check_size(draws: Mapping[str, Array]) -> None:
    """Refuse values whose squares overflow or vanish: their variances would be wrong in silence."""
    for name, values in draws.items():
        peak = float(np.abs(values).max(initial=0.0))
        # beyond these, squares leave float64
        if peak > 0.0 and not 1.0 / _MAX_SIZE < peak < _MAX_SIZE:
            raise InputError(
                f"{name} holds values of size {peak:.0e}: no weights of a network",
                code="non-finite",
            )


def _symmetry(raw: Posterior, drawing: DrawsOptions, network: NetworkOptions) -> Symmetry:
    """The network's symmetry; without one, a forgotten chain axis is the likeliest reason."""
    try:
        return find_symmetry(raw, network, drawing.seed)
    except InputError as error:
        if not drawing.chains and len({values.shape[:1] for values in raw.loc.values()}) == 1:
            error.hint = (
                f"if the axes are (chain, draw, ...), give --chains; otherwise {error.hint}"
            )
        raise


def _aligned(
    drawn: WeightSamples, found: Symmetry, drawing: DrawsOptions, progress: Progress | None
) -> SampleAlignment:
    # nothing to relabel: every draw is its own best match
    if not len(found.spec):
        return SampleAlignment(
            found.spec, tuple({} for _ in range(drawn.num_samples)), drawn.draws, 0.0, 0, True, 1.0
        )
    if progress is not None:
        progress("aligning", 0.0)
    aligned = align_samples(
        drawn.draws,
        found.spec,
        starts=drawing.starts,
        generator=np.random.default_rng([drawing.seed, 11]),
    )
    log.debug("aligned: %.0f %% of the starts agree", 100 * aligned.agreement)
    return aligned
