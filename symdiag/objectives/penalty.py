"""``StraddlingPenalty``: H(g|ω) as one more term in anyone's own loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from symdiag.arrays import Array
from symdiag.errors import InputError, UnsupportedError, UsageError
from symdiag.network.module import ModelSource
from symdiag.objectives.annealing import (
    ANNEALED_SHARE,
    STRADDLING_WEIGHT_START,
    straddling_weight,
)
from symdiag.objectives.element_term import group_term
from symdiag.objectives.module_tensors import read_module
from symdiag.objectives.variational import Variational
from symdiag.posterior import Posterior
from symdiag.symmetry.discovery import Symmetry, discover
from symdiag.symmetry.spec import PermutationSpec


class StraddlingPenalty:
    """The straddling entropy of a Bayesian module, differentiable in its means and scales.

    Two lines turn an ELBO loss into the symmetrised one::

        penalty = StraddlingPenalty(model, activation="relu")
        loss = nll + kl + penalty()  # nll summed over the data set, or all three divided by its
        size

    Works on modules of bayesian-torch, blitz, torchbnn and torch-uncertainty, on Pyro's mean-field
    guides and on hand-written layers, found by the names of their parameters. The loss must carry
    the *whole* KL in nats: where a library averages it (docs/retraining.md), scale the penalty
    alike with ``weight``. Parameters are looked up at every call: a deep copy (or pickle) of a
    module that holds its penalty has a penalty of its own.

    Args:
        source: The module (for Pyro: the guide, once it has been set up by a first call).
        activation: Hidden activation, where the module cannot be traced; odd ones (tanh, ...) add
            sign flips. Unknown: permutations only.
        model: The network, where ``source`` is not the module that computes it (for Pyro: the
            model that the guide is for): a module, or what makes one. ``source`` is traced itself
            otherwise.
        inputs: A batch that the module takes, where its layers do not tell the shape.
        assume_chain: Take the parameters for a plain chain where the module cannot be traced and
            other networks fit them as well.
        spec: The permutation spec, known already.
        scale_transform: What turns the stored scale into a std, where names leave it open.
        draws: Weight draws per call; sampled groups of more than 128 units use fewer.
        every: Calls for which one gradient is used: it is worked out by every ``every``-th call and
            repeated by the others. They then cost next to nothing and follow the posterior with a
            delay (docs/retraining.md has the bias).
        value_every: Calls for which one *value* is used in groups that are too wide for exact
            ones: there it costs many times what its gradient costs.
        weight: Factor on the result, for losses that are not in nats per data set.
        marginals: ``auto``, ``exact``, ``mcmc`` or ``bethe``: how permanental marginals are had.
        seed: Seeds the penalty's own draws.

    Raises:
        InputError: No posterior found among the parameters, or no network.
        UsageError: ``network-assumed``: neither the module nor its parameters tell the network.
        UnsupportedError: Correlated weights, or units that have no permanent form.
    """

    def __init__(
        self,
        source: nn.Module,
        *,
        activation: str | None = None,
        model: ModelSource | None = None,
        inputs: Tensor | None = None,
        assume_chain: bool = False,
        spec: PermutationSpec | None = None,
        scale_transform: str | None = None,
        draws: int = 8,
        every: int = 1,
        value_every: int = 100,
        weight: float = 1.0,
        marginals: str = "auto",
        seed: int = 0,
    ) -> None:
        for name, count in (("draws", draws), ("every", every), ("value_every", value_every)):
            if count < 1:
                raise UsageError(f"{name} must be at least 1, not {count}", code="bad-option")
        posterior, self._tensors = read_module(source, scale_transform)
        if posterior.covariance is not None:
            raise UnsupportedError(
                "the weights are correlated under this posterior", code="correlated-posterior"
            )
        if spec is None:
            batch = None if inputs is None else inputs.detach().cpu().numpy()
            spec = _symmetry(source, model, posterior, activation, assume_chain, batch, seed).spec
        # running statistics move with the units but are no random weights: H does not see them
        spec = spec.restricted(posterior.loc)
        self.spec = spec
        self.names = posterior.names
        self.draws, self.every, self.weight = draws, every, weight
        self._generator = np.random.default_rng(seed)
        layout = Variational.of(posterior, device=str(self._tensors[0].loc.device))
        self._layout = layout.layout
        self._groups = tuple(
            group_term(group, layout, marginals, value_every=value_every) for group in spec
        )
        self._calls = 0
        self._last: _Total | None = None

    def __call__(self, draws: Mapping[str, Tensor] | None = None) -> Tensor:
        """H(g|ω) in nats (times ``weight``), a scalar; gradients flow into the module's parameters.

        Args:
            draws: The weights' own reparameterised draws, name → (*shape) or (S, *shape), for every
                tensor in ``names``; by default the penalty makes its own.

        Returns:
            A mean over the draws. In groups of up to 10 units (``marginals="exact"``: any) value and
            gradient are exact for these draws. In wider ones the gradient is unbiased up to mixing, and
            the value that of the last ``value_every``-th call: an estimate whose mean is a *lower bound*
            on H. Near 0 its noise, and with ``marginals="bethe"`` the Bethe functional (a lower bound,
            too), may fall below 0, where H never is.
            For figures to report use ``symdiag.analyze``.
        """
        # float64 whatever the module's dtype: the matrix holds differences of large log densities
        loc = torch.cat([t.loc.reshape(-1) for t in self._tensors]).double()
        scale = torch.cat([t.scale().reshape(-1) for t in self._tensors]).double()
        if draws is not None and self.every == 1:
            # the draws' own graph leads to the parameters as well
            flat, total = self._flatten(draws), loc.new_zeros(())
            for group in self._groups:
                total = total + group(loc, scale, flat, self._generator)
        else:
            if self._last is None or self._calls % self.every == 0:
                self._last = self._total(loc.detach(), scale.detach(), draws)
            function: Any = _WithGradient.apply
            total = function(loc, scale, self._last)
        self._calls += 1
        return (self.weight * total).to(self._tensors[0].loc.dtype)

    @staticmethod
    def schedule(
        step: int,
        steps: int,
        *,
        start: float = STRADDLING_WEIGHT_START,
        share: float = ANNEALED_SHARE,
    ) -> float:
        """What ``symdiag retrain`` multiplies the term with at ``step`` (from 0) of ``steps``.

        From ``start`` it falls linearly to 1 over the first ``share`` of the steps: this takes a
        straddled start out of its basin, and leaves the objective at the end alone::

            loss = nll + kl + penalty.schedule(step, steps) * penalty()
        """
        return straddling_weight(step, round(share * steps), start)

    def _total(self, loc: Tensor, scale: Tensor, draws: Mapping[str, Tensor] | None) -> _Total:
        """Value and total derivatives by means and stds, with the draws' way through both added."""
        if draws is None:
            noise = self._generator.standard_normal((self.draws, loc.numel()))
            epsilon = torch.from_numpy(noise).to(loc)
            flat = loc + scale * epsilon
        else:
            flat = self._flatten(draws).detach()
            epsilon = torch.where(scale > 0, (flat - loc) / scale, 0.0)
        found = _Total(loc.new_zeros(()), torch.zeros_like(loc), torch.zeros_like(scale))
        for group in self._groups:
            part = group.evaluate(loc, scale, flat, self._generator)
            found.value.add_(part.value)
            # units own disjoint entries: plain indexing adds each once
            found.by_loc[part.index] += part.by_mean + part.by_draw.sum(0)
            used = epsilon[: len(part.by_draw), part.index]  # (S, n, D)
            found.by_scale[part.index] += part.by_std + (part.by_draw * used).sum(0)
        return found

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


@dataclass(frozen=True)
class _Total:
    """H of some draws, nats, and its total derivatives by the flat means and stds (D,)."""

    value: Tensor
    by_loc: Tensor
    by_scale: Tensor


class _WithGradient(torch.autograd.Function):
    """A value whose gradient is known already."""

    @staticmethod
    def forward(ctx: Any, loc: Tensor, scale: Tensor, total: _Total) -> Tensor:
        ctx.save_for_backward(total.by_loc, total.by_scale)
        return total.value.clone()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        by_loc, by_scale = ctx.saved_tensors
        return grad_outputs[0] * by_loc, grad_outputs[0] * by_scale, None


def _symmetry(
    source: nn.Module,
    model: ModelSource | None,
    posterior: Posterior,
    activation: str | None,
    assume_chain: bool,
    inputs: Array | None,
    seed: int,
) -> Symmetry:
    """The groups of the module itself; of the chain its parameters form only where it tells none."""

    def found(network: ModelSource | None) -> Symmetry:
        return discover(
            posterior,
            activation=activation,
            model=network,
            assume_chain=assume_chain,
            inputs=inputs,
            generator=np.random.default_rng(seed),
        )

    if model is not None:
        return found(model)
    try:
        return found(source)
    except InputError as error:  # a guide, or a forward that cannot be followed
        hint = "give model=MODULE, spec=SPEC, or assume_chain=True if it is a plain chain"
        if error.code == "example-input-needed":
            hint = "give inputs=BATCH, a batch that the module takes"
        try:
            chain = found(None)
        except InputError as no_chain:
            raise type(error)(error.message, code=error.code, hint=hint) from no_chain
        try:
            chain.provenance.require_groups("StraddlingPenalty")
        except UsageError as refusal:
            raise UsageError(
                f"{refusal.message}; {error.message}", code=refusal.code, hint=hint
            ) from error
        return chain
