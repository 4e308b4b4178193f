"""``symdiag.analyze``: how many equivalent modes does a posterior straddle?"""

from __future__ import annotations

import math
import time

import numpy as np

from symdiag.diagnostics.collapse import Setting
from symdiag.diagnostics.diagnose import diagnose, straddling_verdict
from symdiag.diagnostics.diagnosis import (
    Context,
    Diagnosis,
    Dropped,
    Finding,
    StraddlingVerdict,
)
from symdiag.diagnostics.findings import collect
from symdiag.estimate import Estimate
from symdiag.estimators import Straddling, estimate_straddling, infonce, tractable
from symdiag.estimators.evaluator import check_device
from symdiag.posterior import Posterior
from symdiag.report.kinds.analyze import (
    Baseline,
    LaplaceEvidence,
    ModelInfo,
    Report,
    Settings,
)
from symdiag.symmetry.discovery import Symmetry
from symdiag.symmetry.spec import PermutationSpec
from symdiag.tasks._align_report import aligned_to
from symdiag.tasks._commands import analyze_command, prune_command, retrain_command
from symdiag.tasks._evidence import Evidence, function_setting, measure_evidence
from symdiag.tasks._evidence_table import Analysis, evidence_table
from symdiag.tasks._inputs import (
    TOOL,
    Progress,
    Source,
    find_symmetry,
    log,
    model_info,
    network_info,
    read_all,
    run_info,
)
from symdiag.tasks._network_data import example_inputs
from symdiag.tasks.keywords import flat
from symdiag.tasks.options import (
    DataOptions,
    DiagnosisOptions,
    EstimationOptions,
    MeterOptions,
    ReadingOptions,
)
from symdiag.training.config import ModelConfig
from symdiag.training.evaluation import shifted
from symdiag.workers import Workers

__all__ = ["Analysis", "analysis", "analyze", "evidence_table"]

_BASELINE_DRAWS = 64


@flat
def analyze(
    source: Source,
    *,
    reading: ReadingOptions = ReadingOptions(),
    given: DataOptions = DataOptions(),
    model_config: ModelConfig = ModelConfig(),
    meter: MeterOptions = MeterOptions(),
    estimation: EstimationOptions = EstimationOptions(),
    diagnosis: DiagnosisOptions = DiagnosisOptions(),
    progress: Progress | None = None,
) -> Report:
    """Diagnose what weight-space symmetry has done to a posterior.

    Args:
        source: Checkpoint file, live object (module, state dict, guide, …) or Posterior.
        reading: The network, and what the file leaves open.
        given: Training and test data: they add both evidence bounds and predictive scores.
        model_config: Likelihood, noise and prior, for the data.
        meter: How the KL's weight is read from the data.
        estimation: Precision, draws and seed.
        diagnosis: Threshold, reference to align to, and whether to show the paper's estimate.
        progress: Called with (stage, fraction done).

    Returns:
        The report; its ``to_dict()`` is the JSON contract.

    Raises:
        SymdiagError: Bad input or options; ``code`` says which.
    """
    options = (reading, given, model_config, meter, estimation, diagnosis)
    return analysis(source, *options, progress=progress).report


def analysis(
    source: Source,
    reading: ReadingOptions,
    given: DataOptions,
    model_config: ModelConfig,
    meter: MeterOptions,
    estimation: EstimationOptions,
    diagnosis: DiagnosisOptions,
    *,
    progress: Progress | None = None,
    workers: Workers | None = None,
) -> Analysis:
    """``analyze``, with the draws that a comparison with other posteriors needs.

    ``workers``: processes that share the work, each of which calls this and has the same result.
    """
    started = time.time()
    check_device(estimation.device)
    # a reference comes last, with a companion of its own where two are given
    sources = [source] if diagnosis.reference is None else [source, diagnosis.reference]
    read, *others = read_all(sources, reading)
    # a dense covariance too large for joint densities is analysed by its marginals, and said so
    posterior, marginals_only = tractable(read)
    seen = example_inputs(posterior, reading, given.data, given.target)
    symmetry = find_symmetry(posterior, reading, estimation.seed, seen)
    # buffers move with the units, but are not random; a tied tensor is one weight, however often
    # the file has it
    weights = symmetry.spec.restricted(posterior.loc.keys() - set(symmetry.repeated))
    setting = function_setting(posterior, symmetry, given, estimation.seed)
    straddling, found = _estimated(posterior, weights, setting, estimation, progress, workers)
    evidence = measure_evidence(
        posterior,
        symmetry,
        given,
        model_config,
        estimation,
        entropy=straddling.total,
        meter=meter,
        workers=workers,
    )
    info = model_info(posterior, symmetry, reading)
    verdict, if_chain = _verdicts(straddling, symmetry, diagnosis.max_straddling)
    limit, samples, seed = diagnosis.max_straddling, straddling.samples, estimation.seed
    commands = (
        analyze_command(read, reading, diagnosis),
        retrain_command(read, symmetry, reading, given, model_config),
        prune_command(read, symmetry, reading, given, model_config),
    )
    baseline = _baseline(posterior, weights, diagnosis.infonce, samples, seed)
    report = Report(
        model=info,
        groups=found.groups,
        total=found.total,
        findings=_findings(
            info,
            symmetry,
            straddling,
            found,
            (verdict, if_chain),
            limit,
            marginals_only,
            commands,
            evidence,
        ),
        verdict=verdict,
        verdict_if_chain=if_chain,
        network=network_info(symmetry),
        settings=Settings(seed, samples, straddling.total.method, limit),
        tool=TOOL,
        elbo=evidence.elbo,
        test=evidence.test,
        laplace=_laplace(read, symmetry, straddling.total_information),
        coverage=evidence.coverage,
        baseline=baseline,
        alignment=aligned_to(posterior, others[0], symmetry.spec, seed=seed) if others else None,
        run=run_info(started),
    )
    return Analysis(report, evidence)


def _verdicts(
    straddling: Straddling, symmetry: Symmetry, limit: float
) -> tuple[StraddlingVerdict, StraddlingVerdict | None]:
    """The verdict; on a network that is only assumed ``inconclusive``, and what it would be."""
    found = straddling_verdict(straddling.total, symmetry.spec.log_order, limit)
    # any other wiring has fewer symmetries: where the chain has none, nothing is left open
    if symmetry.provenance.is_settled or found == "not-applicable":
        return found, None
    return "inconclusive", found


def _estimated(
    posterior: Posterior,
    weights: PermutationSpec,
    setting: Setting,
    estimation: EstimationOptions,
    progress: Progress | None,
    workers: Workers | None,
) -> tuple[Straddling, Diagnosis]:
    straddling = estimate_straddling(
        posterior,
        weights,
        samples=estimation.samples,
        seed=estimation.seed,
        precision=estimation.precision,
        budget=estimation.budget,
        device=estimation.device,
        progress=progress,
        workers=workers,
    )
    log.debug("H(g|w) by %s from %d draws", straddling.total.method, straddling.samples)
    found = diagnose(
        posterior,
        weights,
        straddling,
        seed=estimation.seed,
        device=estimation.device,
        setting=setting,
        progress=progress,
        workers=workers,
    )
    return straddling, found


def _findings(
    info: ModelInfo,
    symmetry: Symmetry,
    straddling: Straddling,
    found: Diagnosis,
    verdicts: tuple[StraddlingVerdict, StraddlingVerdict | None],
    limit: float,
    marginals_only: bool,
    commands: tuple[str, str, str],
    evidence: Evidence,
) -> tuple[Finding, ...]:
    return collect(
        Context(
            path=info.path,
            groups=found.groups,
            total=found.total,
            verdict=verdicts[0],
            verdict_if_chain=verdicts[1],
            assumed_network=network_info(symmetry).condition,
            max_straddling=limit,
            activation=info.activation,
            samples=straddling.samples,
            notes=straddling.notes,
            dropped=tuple(Dropped(f.group, f.error, f.tolerance) for f in symmetry.failures),
            assumptions=info.assumptions,
            prior_not_invariant=tuple(dict.fromkeys(t for t, _ in symmetry.prior_violations)),
            correlated=marginals_only,
            deterministic_parameters=info.deterministic_parameters,
            parameters=info.parameters,
            covered_parameters=info.covered_parameters,
            analyze=commands[0],
            retrain=commands[1],
            prune=commands[2],
            importance=None if evidence.elbo is None else evidence.elbo.importance,
            coverage=evidence.coverage,
            kl_weight=None if evidence.elbo is None else evidence.elbo.kl_weight,
        )
    )


def _laplace(
    posterior: Posterior, symmetry: Symmetry, information: Estimate
) -> LaplaceEvidence | None:
    """Laplace's evidence with and without I(g; ω); None for any other posterior.

    The Gaussian about one mode has the mass of that mode. Put q^G for q, as L^G does for L:
    E_q[log p(D, ω) − log q^G(ω)] = uncorrected + I where log p(D, ω) is quadratic about the mode.
    """
    terms = None if posterior.source is None else posterior.source.laplace
    if terms is None:
        return None
    moved = [n for g in symmetry.spec for n in g.tensors if n in posterior.scale]
    left_out, value = terms.missing, None
    if terms.log_likelihood is not None:
        value = terms.log_likelihood - 0.5 * (terms.log_det_ratio + terms.scatter)
        if symmetry.prior_violations:
            left_out = "no correction: the prior differs between interchangeable units"
        elif any((posterior.scale[n] == 0).any() for n in moved):
            # the features are given: p(Y | X, features) has no mode but this one
            left_out = "no correction: hidden units with fixed weights have no equivalent modes"
    corrected = None if value is None or left_out else shifted(information, value)
    return LaplaceEvidence(
        terms.log_likelihood, terms.log_det_ratio, terms.scatter, value, corrected, left_out
    )


def _baseline(
    posterior: Posterior, spec: PermutationSpec, num_elements: int | None, samples: int, seed: int
) -> Baseline | None:
    """The paper's estimate, from few draws; None where not asked for or no group is found."""
    if num_elements is None or not len(spec):
        return None
    found = infonce(
        posterior,
        spec,
        num_elements=num_elements,
        samples=max(2, min(samples, _BASELINE_DRAWS)),
        generator=np.random.default_rng([seed, 11]),
    )
    ceiling = math.log(num_elements)
    # I^K <= log K whatever the truth: two standard errors from the ceiling says nothing of I
    reached = found.value + 2.0 * (found.std_error or 0.0) >= ceiling - 1e-9
    return Baseline(num_elements, ceiling, found, reached)
