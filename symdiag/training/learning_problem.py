"""Model, data and prior of a training run, checked against each other, as tensors."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from symdiag.arrays import Array
from symdiag.errors import InputError, UnsupportedError
from symdiag.objectives.likelihoods import check_noise, find_likelihood
from symdiag.objectives.likelihoods.interface import Likelihood
from symdiag.objectives.priors import FlatPrior, flat_prior
from symdiag.objectives.variational import Layout, Variational
from symdiag.posterior import Posterior
from symdiag.priors import Prior
from symdiag.symmetry.spec import PermutationSpec
from symdiag.training.config import ModelConfig
from symdiag.training.data import Dataset
from symdiag.training.prior import check_prior_invariance, resolve_prior
from symdiag.training.randomness import generator_for

Forward = Callable[[Mapping[str, Tensor], Tensor], Tensor]
"""(name → (S, *shape), inputs (N, ...)) → outputs (S, N, d)."""

INITIAL_STD = 0.05  # of training from scratch
_PROBED = 64  # points on which it is tried whether the network reads a number
FLOAT64_LIMIT = 100_000  # parameters up to which everything is computed in float64


@dataclass(frozen=True)
class Points:
    """Inputs (N, ...) and prepared targets (N, ...)."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, index: Tensor | None) -> Points:
        """A subset; all points for None."""
        return self if index is None else Points(self.inputs[index], self.targets[index])


@dataclass(frozen=True)
class LearningProblem:
    """A posterior to train on data: network, likelihood, prior, symmetry group.

    ``posterior`` is where training starts and the template of what is written; ``learn_noise``
    makes the noise std of the likelihood a trained number (type-II maximum likelihood). ``held``
    are random numbers of the checkpoint that the network does not read (Pyro's ``sigma``): they
    stay as they are, outside draws and KL. ``statistics`` are buffers that move with units
    (BatchNorm's running means and variances): frozen, and no part of the posterior, so ``spec``
    does not act on them.
    """

    posterior: Posterior
    spec: PermutationSpec
    forward: Forward
    likelihood: Likelihood
    prior: Prior
    flat_prior: FlatPrior
    train: Points
    test: Points | None
    log_noise: float
    learn_noise: bool
    dtype: torch.dtype
    device: str
    held: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ()

    def start(self) -> Variational:
        """A fresh trainable copy of the posterior."""
        return Variational.of(
            self.posterior,
            log_noise=self.log_noise,
            dtype=self.dtype,
            device=self.device,
            leave_out=self.held,
        )

    def under(self, prior: Prior) -> LearningProblem:
        """The same problem with another prior."""
        layout = Layout.of(self.posterior, self.held)
        flat = flat_prior(prior, layout, dtype=self.dtype, device=self.device)
        return dataclasses.replace(self, prior=prior, flat_prior=flat)

    def restarted(self, posterior: Posterior) -> LearningProblem:
        """The same problem, training from other means and stds of the same tensors."""
        again = dataclasses.replace(self, posterior=posterior)
        if not self.learn_noise:
            return again
        q = again.start()
        outputs = self.forward(q.layout.split(q.loc.detach()[None]), self.train.inputs)
        return dataclasses.replace(again, log_noise=_residual_log_std(outputs, self.train))

    def log_likelihood(self, q: Variational, draws: Tensor, points: Points) -> Tensor:
        """Σ_n log p(y_n | x_n, ω_s) over ``points`` for draws (S, D) → (S,), nats, not rescaled."""
        return self.point_log_likelihood(q, draws, points).sum(-1)

    def point_log_likelihood(self, q: Variational, draws: Tensor, points: Points) -> Tensor:
        """log p(y_n | x_n, ω_s), (S, N)."""
        outputs = self.forward(q.layout.split(draws), points.inputs)
        # a noise std that was given is a constant of the problem: no gradient may move it
        log_noise = q.log_noise if self.learn_noise else q.log_noise.detach()
        return self.likelihood.log_prob(outputs, points.targets, log_noise)

    def draws(self, q: Variational, noise: Tensor) -> Tensor:
        """Reparameterised draws ω = μ + σ ε, (S, D)."""
        return q.loc + q.scale * noise


def build_problem(
    posterior: Posterior,
    spec: PermutationSpec,
    forward: Forward,
    model: ModelConfig,
    train: Dataset,
    test: Dataset | None = None,
    *,
    device: str = "cpu",
) -> LearningProblem:
    """Check that posterior, data, likelihood and prior fit each other and put them on ``device``.

    Raises:
        UnsupportedError: Correlated posterior (``correlated-posterior``), or nothing random to
            train.
        SymmetryError: The prior is not invariant under the group (``prior-not-invariant``): L^G is
            then no bound.
        UsageError: No prior is known (``prior-unknown``), its options name no tensor, or the
            likelihood has no noise std but one is given (``bad-option``).
        InputError: The data do not fit the network (``bad-data``).
    """
    _check_trainable(posterior)
    # noted before the spec is restricted to weights, which drops them
    statistics = tuple(n for n in posterior.buffers if any(n in g.tensors for g in spec))
    spec = spec.restricted(posterior.loc)
    likelihood = find_likelihood(model.likelihood)
    check_noise(likelihood, model.noise)
    dtype = torch.float64 if posterior.num_parameters <= FLOAT64_LIMIT else torch.float32
    prepare = _Preparation(posterior, forward, likelihood, dtype, device)
    # before the prior is resolved: what the network does not read needs none
    held = prepare.unread(train, spec)
    prior = resolve_prior(posterior, model, held)
    check_prior_invariance(prior, spec)
    points = prepare.points(train)
    return LearningProblem(
        posterior=posterior,
        spec=spec,
        forward=forward,
        likelihood=likelihood,
        prior=prior,
        flat_prior=flat_prior(prior, Layout.of(posterior, held), dtype=dtype, device=device),
        train=points,
        test=None if test is None else prepare.points(test),
        log_noise=prepare.log_noise(points, model),
        learn_noise=likelihood.has_noise and model.noise in (None, "learn"),
        dtype=dtype,
        device=device,
        held=held,
        statistics=statistics,
    )


def _check_trainable(posterior: Posterior) -> None:
    if posterior.covariance is not None:
        raise UnsupportedError(
            "the weights are correlated under this posterior, and training moves means and stds alone",
            code="correlated-posterior",
            hint="Retrain a mean-field posterior of the same network; symdiag analyze takes this one.",
        )
    if not any((scale > 0).any() for scale in posterior.scale.values()):
        raise UnsupportedError(
            "every weight is deterministic: nothing to train", code="deterministic-weights"
        )


@dataclass(frozen=True)
class _Preparation:
    posterior: Posterior
    forward: Forward
    likelihood: Likelihood
    dtype: torch.dtype
    device: str

    def points(self, data: Dataset) -> Points:
        """Tensors of the data set, after one trial forward pass."""
        inputs = torch.tensor(data.inputs, dtype=self.dtype, device=self.device)
        targets = torch.tensor(data.targets, dtype=self.dtype, device=self.device)
        return Points(inputs, self.likelihood.targets(targets, self._outputs(inputs[:1]).shape[-1]))

    def unread(self, data: Dataset, spec: PermutationSpec) -> tuple[str, ...]:
        """Single numbers in no group that the outputs do not depend on: other latents of a model.

        Only single numbers can be told apart in this way: a whole layer may be without effect at
        the means (dead units) and matter for other draws.
        """
        grouped = {name for group in spec for name in group.tensors}
        inputs = torch.tensor(data.inputs[:_PROBED], dtype=self.dtype, device=self.device)
        outputs = self._outputs(inputs)
        return tuple(
            name
            for name, loc in self.posterior.loc.items()
            if loc.size == 1
            and name not in grouped
            # equal to the bit: without effect means the same operations on the same numbers
            and torch.equal(self._outputs(inputs, {name: loc + 1.0}), outputs)
        )

    def log_noise(self, points: Points, model: ModelConfig) -> float:
        """Given, or where learning starts: the residual std of the mean network."""
        if not self.likelihood.has_noise:
            return 0.0
        if isinstance(model.noise, (int, float)):
            return math.log(model.noise)
        return _residual_log_std(self._outputs(points.inputs), points)

    def _outputs(self, inputs: Tensor, changed: Mapping[str, Array] | None = None) -> Tensor:
        """Outputs (1, N, d) at the means, some of them changed."""
        weights = {
            name: torch.tensor(loc, dtype=self.dtype, device=self.device)[None]
            for name, loc in {**self.posterior.loc, **(changed or {})}.items()
        }
        try:
            with torch.no_grad():
                outputs = self.forward(weights, inputs)
        except (RuntimeError, ValueError, IndexError) as error:
            first = str(error).splitlines()[0]
            raise InputError(
                f"the network cannot take inputs of shape {tuple(inputs.shape[1:])}: {first}",
                code="bad-data",
                hint="The inputs (array X) must have the features that the network was trained on.",
            ) from error
        return outputs


def _residual_log_std(outputs: Tensor, points: Points) -> float:
    """Of the residuals of outputs (1, N, d): where a learned noise std starts."""
    residual = outputs[0] - points.targets
    # means that fit every point would start learning at log 0
    return math.log(max(1e-3, float(residual.square().mean().sqrt())))


def scratch(posterior: Posterior, seed: int, number: int = 0) -> Posterior:
    """Where training from scratch starts; deterministic weights are kept.

    Random means (He et al. 2015 for matrices, zero for vectors) and stds of ``INITIAL_STD``;
    ``number``: which of one seed's fresh nets.
    """
    generator = generator_for(seed, "initial", number)
    loc: dict[str, Array] = {}
    scale: dict[str, Array] = {}
    for name, old in posterior.loc.items():
        random = posterior.scale[name] > 0
        fan_in = math.prod(old.shape[1:])
        spread = math.sqrt(2.0 / fan_in) if old.ndim > 1 else 0.0
        # a draw for every weight, used or not: the stream does not depend on which are random
        loc[name] = np.where(random, spread * generator.standard_normal(old.shape), old)
        scale[name] = np.where(random, INITIAL_STD, 0.0)
    return posterior.replace(loc=loc, scale=scale, covariance=None)
