"""The paper's objective: L + I^K, K − 1 uniform group elements (Gelberg et al. 2024, Thm 4.3)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from symdiag.arrays import Array
from symdiag.errors import UnsupportedError
from symdiag.objectives.terms import Stateless, TermOptions
from symdiag.objectives.variational import Layout, Variational
from symdiag.symmetry.elements import act, random_action
from symdiag.symmetry.spec import PermutationSpec
from symdiag.workers import Share

OPTIONS = ("num_elements",)
_DEFAULT_ELEMENTS = 20


class InfoNCE(Stateless):
    """Adds E log (1/K) Σ_k q(g_k⁻¹ω)/q(ω), g_0 the identity: −I^K, never below −log K.

    Kept as the baseline that the permanent-based objective is measured against.
    """

    name = "infonce"

    def __init__(self, spec: PermutationSpec, num_elements: int = _DEFAULT_ELEMENTS) -> None:
        self.spec = spec
        self.num_elements = num_elements

    def term(
        self,
        q: Variational,
        draws: Tensor,
        generator: np.random.Generator,
        share: Share | None = None,
    ) -> Tensor:
        """−I^K in nats, averaged over draws (S, D), which share the elements of this call."""
        if q.free is not None:
            raise UnsupportedError(
                "the infonce objective needs every weight to be random",
                code="deterministic-weights",
            )
        index, sign = _signed_permutations(self.spec, q.layout, self.num_elements - 1, generator)
        moved = draws[:, torch.from_numpy(index).to(draws.device)]  # (S, K-1, D)
        moved = moved * torch.from_numpy(sign).to(draws)
        scale = q.scale
        own = ((draws - q.loc) / scale).double().square()  # (S, D)
        other = ((moved - q.loc) / scale).double().square()  # (S, K-1, D)
        log_ratio = 0.5 * (own[:, None, :] - other).sum(-1)
        # the identity is one of the K elements and has ratio 1; hence the bound by log K
        terms = torch.cat([log_ratio.new_zeros(len(draws), 1), log_ratio], dim=1)
        value = torch.logsumexp(terms, dim=1).mean() - math.log(self.num_elements)
        return value if share is None else value * share.weight(share.total)


def build(spec: PermutationSpec, q: Variational, options: TermOptions) -> InfoNCE:
    """With K group elements, 20 unless told."""
    return InfoNCE(spec, options.num_elements or _DEFAULT_ELEMENTS)


def _signed_permutations(
    spec: PermutationSpec, layout: Layout, count: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Uniform group elements as (count, D) gather indices and signs of the flat weight vector."""
    starts = np.arange(layout.size, dtype=np.float64)
    positions = {
        name: part.numpy() for name, part in layout.split(torch.from_numpy(starts)).items()
    }
    ones = {name: np.ones_like(part) for name, part in positions.items()}
    index = np.empty((count, layout.size), dtype=np.int64)
    sign = np.empty((count, layout.size))
    for k in range(count):
        action = random_action(spec, generator)
        index[k] = layout.join(_doubles(act(spec, action, positions, flip=False))).astype(np.int64)
        sign[k] = layout.join(_doubles(act(spec, action, ones)))
    return index, sign


def _doubles(arrays: Mapping[str, NDArray[np.floating]]) -> dict[str, Array]:
    return {name: np.asarray(value, dtype=np.float64) for name, value in arrays.items()}
