"""The library's calls, composed of the layers below; re-exported lazily from ``symdiag``."""

from __future__ import annotations

import dataclasses
import math
import platform
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from symdiag import formats
from symdiag._version import __version__
from symdiag.alignment import Alignment
from symdiag.alignment import align as align_posteriors
from symdiag.diagnostics.catalogue import collect
from symdiag.diagnostics.context import Context, Dropped
from symdiag.diagnostics.diagnose import diagnose
from symdiag.diagnostics.diagnosis import Diagnosis
from symdiag.diagnostics.model import Finding
from symdiag.diagnostics.verdict import DEFAULT_MAX_STRADDLING, judge
from symdiag.errors import UsageError
from symdiag.estimators import Straddling, estimate_straddling, tractable
from symdiag.estimators import infonce as infonce_estimate
from symdiag.estimators.devices import check_device
from symdiag.evidence import Data, measure_evidence
from symdiag.posterior import Posterior
from symdiag.report.align_build import align_section
from symdiag.report.model import Baseline, LayerInfo, ModelInfo, Report, Settings, Uncovered
from symdiag.symmetry.discovery import Symmetry, discover
from symdiag.symmetry.spec import PermutationSpec
from symdiag.training.evaluation import EvaluationConfig

Progress = Callable[[str, float], None]

_BASELINE_DRAWS = 64
TOOL = {"name": "symdiag", "version": __version__}


def load(path: str | Path, **options: Any) -> Posterior:
    """Read a checkpoint into a Posterior; nothing in the file is executed. See :func:`symdiag.formats.load`."""
    return formats.load(path, **options)


def analyze(
    source: str | Path | Posterior,
    *,
    activation: str | None = None,
    scale_transform: str | None = None,
    companion: str | Path | Sequence[str | Path | None] | None = None,
    model: str | None = None,
    spec: Path | None = None,
    samples: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    max_straddling: float = DEFAULT_MAX_STRADDLING,
    precision: float | None = None,
    budget: float | None = None,
    reference: str | Path | Posterior | None = None,
    data: Data | str | Path | None = None,
    infonce: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Diagnose what weight-space symmetry has done to a posterior.

    Args:
        source: Checkpoint file, or a Posterior already loaded.
        activation: Activation between layers; odd ones (tanh, …) add sign flips to the group.
        scale_transform: What turns the stored scale into a std, where the file leaves it open.
        companion: Second file that some libraries need (laplace-torch: the model's state dict); two for two files.
        model: ``package.module:factory`` of the network, where the file does not determine it.
        spec: Hand-written permutation spec (TOML).
        samples: Exactly this many weight draws; by default precision and budget decide.
        seed: Seed of all randomness.
        device: Torch device for the slot densities.
        max_straddling: Threshold on the total straddling entropy, nats.
        precision: Target half-width, nats (default 0.05 + 1 % of the value).
        budget: Nominal seconds to spend (see docs/ARCHITECTURE.md).
        data: Training data, which adds both evidence bounds; a ``Data`` names test data, likelihood and prior too.
        reference: Posterior of the same architecture; the report then says how the two align.
        infonce: Report the paper's estimate with this many group elements beside ours, and its ceiling.
        progress: Called with (stage, fraction done).

    Returns:
        The report; its ``to_dict()`` is the JSON contract.

    Raises:
        SymdiagError: Bad input or options; ``code`` says which.
    """
    started = time.time()
    check_options(
        samples=samples,
        seed=seed,
        max_straddling=max_straddling,
        precision=precision,
        budget=budget,
        infonce=infonce,
    )
    check_device(device)
    first, second = formats.companions_of(companion, 2)
    posterior, marginals_only = tractable(_posterior(source, scale_transform, first))
    symmetry = discover(
        posterior,
        activation=activation,
        model=model,
        spec_file=spec,
        generator=np.random.default_rng([seed, 7]),
    )
    # buffers move with the units, but are not random; a tied tensor is one weight, however often the file has it
    weights = symmetry.spec.restricted(posterior.loc.keys() - set(symmetry.repeated))
    straddling = estimate_straddling(
        posterior,
        weights,
        samples=samples,
        seed=seed,
        precision=precision,
        budget=budget,
        device=device,
        progress=progress,
    )
    diagnosis = diagnose(
        posterior, weights, straddling, seed=seed, device=device, progress=progress
    )
    report = _report(
        posterior,
        symmetry,
        straddling,
        diagnosis,
        seed,
        max_straddling,
        started,
        marginals_only=marginals_only,
    )
    if data is not None:
        config = EvaluationConfig(seed=seed, precision=precision, budget=budget)
        given = data if isinstance(data, Data) else Data(data)
        elbo, test = measure_evidence(
            posterior, symmetry, given, config, device=device, entropy=straddling.total
        )
        report = dataclasses.replace(report, elbo=elbo, test=test)
    if infonce is not None:
        report = dataclasses.replace(
            report, baseline=_baseline(posterior, weights, infonce, straddling.samples, seed)
        )
    if reference is not None:
        other = _posterior(reference, scale_transform, second)
        report = dataclasses.replace(
            report, alignment=align_section(posterior, other, symmetry.spec, seed=seed)
        )
    return report


def align(
    model: str | Path | Posterior,
    reference: str | Path | Posterior,
    *,
    cost: str = "w2",
    restarts: int | None = None,
    seed: int = 0,
    activation: str | None = None,
    scale_transform: str | None = None,
    companion: str | Path | Sequence[str | Path | None] | None = None,
    module: str | None = None,
    spec: Path | None = None,
) -> Alignment:
    """Relabel (and sign-flip, where the activation is odd) ``model`` onto ``reference``.

    Args:
        model: What is moved; its symmetry group is the one used.
        reference: What it is moved onto.
        cost: w2, kl, hellinger or mean; see docs/alignment.md.
        restarts: Random starts beside the identity and the signatures.
        seed: Seed of the restarts.
        activation: Activation between layers.
        scale_transform: What turns the stored scale into a std, where the files leave it open.
        companion: Second file that some libraries need; two, where each of the two files has its own.
        module: ``package.module:factory`` of the network.
        spec: Hand-written permutation spec (TOML).

    Returns:
        The alignment: ``.posterior``, ``.apply(tensors)`` for any dict of arrays, ``.certificate``.
    """
    pairs = zip((model, reference), formats.companions_of(companion, 2), strict=True)
    moved, fixed = (_posterior(source, scale_transform, second) for source, second in pairs)
    generator = np.random.default_rng(seed)
    symmetry = discover(
        moved, activation=activation, model=module, spec_file=spec, generator=generator
    )
    return align_posteriors(
        moved, fixed, symmetry.spec, cost=cost, restarts=restarts, generator=generator
    )


def check_options(
    *,
    samples: int | None = None,
    seed: int = 0,
    max_straddling: float = 0.0,
    precision: float | None = None,
    budget: float | None = None,
    infonce: int | None = None,
) -> None:
    """Refuse options out of range (UsageError naming the range)."""
    if samples is not None and samples < 1:
        raise UsageError(f"--samples must be at least 1, got {samples}", code="bad-option")
    if infonce is not None and infonce < 2:
        raise UsageError(f"--infonce must be at least 2, got {infonce}", code="bad-option")
    if seed < 0:
        raise UsageError(f"--seed must be 0 or more, got {seed}", code="bad-option")
    for name, value in (
        ("--max-straddling", max_straddling),
        ("--precision", precision),
        ("--budget", budget),
    ):
        if value is not None and not 0.0 <= value < float("inf"):
            raise UsageError(
                f"{name} must be a finite number of at least 0, got {value}", code="bad-option"
            )
    if precision == 0.0 or budget == 0.0:
        raise UsageError("--precision and --budget must be positive", code="bad-option")


def _baseline(
    posterior: Posterior, spec: PermutationSpec, num_elements: int, samples: int, seed: int
) -> Baseline | None:
    """The paper's estimate on at most ``_BASELINE_DRAWS`` draws; None where no group has a symmetry."""
    if len(spec) == 0:
        return None
    generator = np.random.default_rng([seed, 11])
    draws = max(2, min(samples, _BASELINE_DRAWS))
    found = infonce_estimate(
        posterior, spec, num_elements=num_elements, samples=draws, generator=generator
    )
    ceiling = math.log(num_elements)
    return Baseline(
        num_elements, ceiling, found, found.value + 2.0 * (found.std_error or 0.0) >= ceiling - 1e-9
    )


def _posterior(
    source: str | Path | Posterior, scale_transform: str | None, companion: str | Path | None
) -> Posterior:
    if isinstance(source, Posterior):
        return source
    return formats.load(source, scale_transform=scale_transform, companion=companion)


def _report(
    posterior: Posterior,
    symmetry: Symmetry,
    straddling: Straddling,
    diagnosis: Diagnosis,
    seed: int,
    max_straddling: float,
    started: float,
    *,
    marginals_only: bool,
) -> Report:
    info = model_info(posterior, symmetry)
    verdict = judge(straddling.total, symmetry.spec.log_order, max_straddling)
    context = Context(
        path=info.path,
        groups=diagnosis.groups,
        total=diagnosis.total,
        verdict=verdict,
        max_straddling=max_straddling,
        activation=info.activation,
        samples=straddling.samples,
        notes=straddling.notes,
        dropped=tuple(Dropped(f.group, f.error, f.tolerance) for f in symmetry.failures),
        assumptions=info.assumptions,
        prior_not_invariant=tuple(dict.fromkeys(tensor for tensor, _ in symmetry.prior_violations)),
        correlated=marginals_only,
        deterministic_parameters=info.deterministic_parameters,
        parameters=info.parameters,
        covered_parameters=info.covered_parameters,
    )
    findings: tuple[Finding, ...] = collect(context)
    return Report(
        model=info,
        groups=diagnosis.groups,
        total=diagnosis.total,
        findings=findings,
        verdict=verdict,
        settings=Settings(seed, straddling.samples, straddling.total.method, max_straddling),
        tool=TOOL,
        run=run_info(started),
    )


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


def run_info(started: float) -> dict[str, Any]:
    """Everything volatile about this run."""
    import torch

    return {
        "started": datetime.fromtimestamp(started, timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started, 3),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": str(torch.__version__),
        "host": platform.platform(),
    }
