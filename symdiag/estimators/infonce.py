"""The paper's estimator, as a baseline: I^K ≤ min(I, log K) (Gelberg et al. 2024, Thm 4.3)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from scipy.special import logsumexp

from symdiag.estimate import Estimate
from symdiag.estimators.log_ratio import LogRatio
from symdiag.estimators.values import mean_and_error
from symdiag.posterior import Posterior
from symdiag.symmetry.elements import Element
from symdiag.symmetry.spec import PermutationSpec


def infonce(
    posterior: Posterior,
    spec: PermutationSpec,
    *,
    num_elements: int,
    samples: int,
    generator: np.random.Generator,
) -> Estimate:
    """I^K = log K − E log Σ_k r(g_k), with g_0 the identity and K − 1 uniform elements, nats.

    A lower bound on the mutual information in expectation that can never exceed log K, whatever the
    truth; ``upper`` is therefore log|G|, unless the estimate's own standard error is all there is
    to say.
    """
    draws = posterior.sample(generator, samples)
    tensors = {name: torch.from_numpy(value) for name, value in draws.items()}
    terms = contrastive_terms(LogRatio(posterior, spec), spec, tensors, num_elements, generator)
    centre, error = mean_and_error(np.log(num_elements) - terms)
    slack = np.inf if error is None else 2.0 * error
    return Estimate(
        value=centre,
        std_error=error,
        lower=max(centre - slack, 0.0),
        upper=spec.log_order,
        method=f"infonce-K{num_elements}",
        samples=samples,
        interval="expectation",
    )


def contrastive_terms(
    ratio: LogRatio,
    spec: PermutationSpec,
    draws: Mapping[str, torch.Tensor],
    num_elements: int,
    generator: np.random.Generator,
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """log Σ_{k<K} r(g_k) per draw, (S,), r(identity) = 1 included; fresh uniform elements for each
    draw.
    """
    count = len(next(iter(draws.values())))
    terms = np.empty(count)
    for s in range(count):
        # one draw at a time: K moved copies of every tensor are held at once
        one = {name: value[s] for name, value in draws.items()}
        actions = {g.name: Element.random(g, generator, num_elements - 1) for g in spec}
        terms[s] = logsumexp(np.concatenate([[0.0], ratio(one, actions)]))
    return terms
