"""``StraddlingPenalty``: H(g|ω) as one more term in anyone's own loss."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from symdiag.errors import UnsupportedError, UsageError
from symdiag.objectives.live import read_module
from symdiag.objectives.symmetrized import GroupTerm
from symdiag.objectives.variational import Variational
from symdiag.symmetry.discovery import discover
from symdiag.symmetry.spec import PermutationSpec


class StraddlingPenalty:
    """The straddling entropy of a Bayesian module, differentiable in its means and scales.

    Two lines turn an ELBO loss into the symmetrised one::

        penalty = StraddlingPenalty(model, activation="relu")
        loss = nll + kl + penalty()      # nll summed over the data set, or all three divided by its size

    Works on modules of bayesian-torch, blitz, torchbnn and torch-uncertainty, on Pyro's mean-field guides and on
    hand-written layers, found by the names of their parameters. The loss must carry the *whole* KL in nats: where a
    library averages it (docs/retraining.md), scale the penalty alike with ``weight``.

    Args:
        model: The module (for Pyro: the guide, once it has been set up by a first call).
        activation: Hidden activation; odd ones (tanh, ...) add sign flips. Unknown: permutations only.
        spec: The permutation spec where the parameters do not form a plain chain.
        scale_transform: What turns the stored scale into a std, where names leave it open.
        draws: Weight draws per call.
        weight: Factor on the result, for losses that are not in nats per data set.
        marginals: ``auto``, ``exact`` or ``mcmc``: how permanental marginals are had.
        seed: Seeds the penalty's own draws.

    Raises:
        InputError: No posterior found among the parameters, or no network.
        UnsupportedError: Correlated weights, or units that have no permanent form.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        activation: str | None = None,
        spec: PermutationSpec | None = None,
        scale_transform: str | None = None,
        draws: int = 8,
        weight: float = 1.0,
        marginals: str = "auto",
        seed: int = 0,
    ) -> None:
        posterior, self._tensors = read_module(model, scale_transform)
        if posterior.covariance is not None:
            raise UnsupportedError(
                "the weights are correlated under this posterior", code="correlated-posterior"
            )
        if spec is None:
            spec = discover(
                posterior, activation=activation, generator=np.random.default_rng(seed)
            ).spec
        self.spec = spec
        self.names = posterior.names
        self.draws, self.weight = draws, weight
        self._generator = np.random.default_rng(seed)
        layout = Variational.of(posterior, device=str(self._tensors[0].loc.device))
        self._layout = layout.layout
        self._groups = tuple(GroupTerm(group, layout, marginals) for group in spec)

    def __call__(self, draws: Mapping[str, Tensor] | None = None) -> Tensor:
        """H(g|ω) in nats (times ``weight``), a scalar; gradients flow into the module's parameters.

        Args:
            draws: The weights' own reparameterised draws, name → (*shape) or (S, *shape), for every tensor in
                ``names``; by default the penalty makes its own.

        Returns:
            Exact for these draws in groups of up to 10 units (``marginals="exact"``: any); in wider ones the gradient
            is unbiased up to mixing while the value is a lower bound on H (Bethe functional). For figures to report use
            ``symdiag.analyze``.
        """
        loc = torch.cat([t.loc.reshape(-1) for t in self._tensors]).double()
        scale = torch.cat([t.scale().reshape(-1) for t in self._tensors]).double()
        flat = self._own_draws(loc, scale) if draws is None else self._flatten(draws)
        total = loc.new_zeros(())
        for group in self._groups:
            total = total + group(loc, scale, flat, self._generator)
        return (self.weight * total).to(self._tensors[0].loc.dtype)

    def _own_draws(self, loc: Tensor, scale: Tensor) -> Tensor:
        noise = self._generator.standard_normal((self.draws, loc.numel()))
        return loc + scale * torch.from_numpy(noise).to(loc)

    def _flatten(self, draws: Mapping[str, Tensor]) -> Tensor:
        missing = [name for name in self.names if name not in draws]
        if missing:
            raise UsageError(
                f"no draws given for {missing[0]}",
                code="usage",
                hint=f"All of: {', '.join(self.names)}.",
            )
        parts = []
        for name, shape in self._layout.shapes:
            value = draws[name]
            parts.append(
                (value if value.ndim > len(shape) else value[None]).reshape(-1, int(np.prod(shape)))
            )
        return torch.cat(parts, dim=1).double()
