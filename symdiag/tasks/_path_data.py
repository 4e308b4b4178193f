"""Pointwise log-likelihoods of weight draws on data, for the path between posteriors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from symdiag.arrays import Array
from symdiag.errors import UsageError
from symdiag.posterior import Posterior
from symdiag.training.data import Dataset

_CHUNK = 2_000_000  # weights times draws pushed through the network at a time


class Evaluator:
    """The network's outputs and likelihood on one data set.

    Args:
        forward: ``Symmetry.forward``: (weights with a leading draw axis, inputs (N, ...)) → outputs
            (S, N, d).
        posterior: tells the number of outputs.
        data: inputs and targets.
        likelihood: name of a likelihood; None takes categorical for integer labels of several
            classes, else gaussian.
        noise: noise std, where the likelihood has one; 1 by default.

    Raises:
        UsageError: the forward pass is not known.
        InputError: targets that the likelihood or the network cannot take (``bad-data``).
    """

    def __init__(
        self,
        forward: Callable[..., Any] | None,
        posterior: Posterior,
        data: Dataset,
        likelihood: str | None = None,
        noise: float | None = None,
    ) -> None:
        import torch

        from symdiag.objectives.likelihoods import check_noise, find_likelihood

        if forward is None:
            raise UsageError(
                "the data cannot be evaluated: the network's forward pass is not known",
                code="forward-undetermined",
                hint="give --activation, or --model package.module:factory",
            )
        self._forward = forward
        self._inputs = torch.as_tensor(data.inputs)
        # (N, d): only the network knows how many outputs there are
        outputs = self.outputs(posterior).shape[-1]
        self._likelihood = find_likelihood(likelihood or _guess(data, outputs))
        check_noise(self._likelihood, noise)
        self._targets = self._likelihood.targets(torch.as_tensor(data.targets), outputs)
        # float64: what is reported are differences of log densities
        self._log_noise = torch.tensor(math.log(noise or 1.0), dtype=torch.float64)

    @property
    def likelihood(self) -> str:
        """Name of the likelihood in use."""
        return self._likelihood.name

    def outputs(self, posterior: Posterior) -> Array:
        """Outputs (N, d) at the means."""
        # the posterior's own buffers: aligning moves running statistics with their units
        weights = {**posterior.buffers, **posterior.loc}
        result: Array = self._run(
            {name: np.asarray(array)[None] for name, array in weights.items()}
        )[0].numpy()
        return result

    def log_likelihood(self, draws: Mapping[str, Array]) -> Array:
        """Pointwise, nats: draws (S, *shape) → (S, N)."""

        def one(part: Mapping[str, Array]) -> Array:
            outputs = self._run(part)
            found: Array = self._likelihood.log_prob(
                outputs, self._targets, self._log_noise
            ).numpy()
            return found

        return _in_chunks(one, draws)

    def outputs_of(self, draws: Mapping[str, Array]) -> Array:
        """The network's outputs: draws (S, *shape) → (S, N, d)."""
        return _in_chunks(lambda part: np.asarray(self._run(part)), draws)

    def _run(self, draws: Mapping[str, Array]) -> Any:
        import torch

        weights = {name: torch.tensor(array) for name, array in draws.items()}
        with torch.no_grad():
            outputs = self._forward(weights, self._inputs)
        # (S, N, ...) -> (S, N, d)
        return outputs.reshape(*outputs.shape[:2], -1).to(torch.float64)


def _in_chunks(one: Callable[[Mapping[str, Array]], Array], draws: Mapping[str, Array]) -> Array:
    """``one`` over the draw axis, so many draws at a time that their weights fit into memory."""
    count = len(next(iter(draws.values())))
    # Draws go through the network side by side, as many as memory allows.
    step = max(1, _CHUNK // max(1, sum(a[0].size for a in draws.values())))
    parts = [one({n: a[s : s + step] for n, a in draws.items()}) for s in range(0, count, step)]
    return np.concatenate(parts)


def _guess(data: Dataset, outputs: int) -> str:
    # whole numbers as targets of several outputs are classes, not a regression onto one of them
    labels = data.targets
    return (
        "categorical"
        if outputs > 1 and labels.ndim == 1 and (labels == np.round(labels)).all()
        else "gaussian"
    )


def relative_change(before: Array, after: Array) -> float:
    """Largest difference relative to the largest output."""
    # the floor is for a network that computes zero everywhere
    return float(np.abs(before - after).max() / max(np.abs(before).max(), 1e-300))
