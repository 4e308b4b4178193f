"""log perm as a differentiable torch operation; the only module here that imports torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from symdiag.arrays import Array
from symdiag.permanents.marginal import Method, marginals
from symdiag.permanents.planner import log_permanent
from symdiag.permanents.results import DEFAULT, Effort


class _LogPermanent(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        log_weights: Tensor,
        generator: np.random.Generator,
        effort: Effort,
        method: Method,
    ) -> Tensor:
        matrices: Array = log_weights.detach().to("cpu", torch.float64).numpy()
        value = log_permanent(matrices, generator=generator, effort=effort, bounds=False).value
        if ctx.needs_input_grad[0]:
            found = marginals(
                matrices, generator=generator, method=method, effort=effort
            ).probabilities
            ctx.save_for_backward(torch.from_numpy(found).to(log_weights))
        return torch.from_numpy(value).to(log_weights)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None]:
        (found,) = ctx.saved_tensors
        return grad_outputs[0][:, None, None] * found, None, None, None


def log_permanent_torch(
    log_weights: Tensor,
    *,
    generator: np.random.Generator,
    effort: Effort = DEFAULT,
    marginals_method: Method = "auto",
) -> Tensor:
    """log perm (B,) of log weights (B, n, n), any float dtype and device; its gradient is the marginals P.

    Args:
        log_weights: (B, n, n), -inf allowed.
        generator: source of all randomness.
        effort: how hard to try.
        marginals_method: see ``marginals``.
    """
    result = _LogPermanent.apply(log_weights, generator, effort, marginals_method)  # type: ignore[no-untyped-call]
    assert isinstance(result, Tensor)
    return result
