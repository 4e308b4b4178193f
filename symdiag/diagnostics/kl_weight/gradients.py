"""Both sides of ∂E[log p] = T·∂KL, per weight: over log stds and over means.

E[log p] is differentiated by Monte Carlo. On a plain chain each point has pre-activations of its
own (local reparametrisation; Kingma, Salimans & Welling 2015): given the inputs of a layer, its
pre-activations at one point are independent Gaussians under a mean-field posterior, and the
likelihood is a sum over points, so the expectation is the same and the error falls with the number
of points, too. Elsewhere whole weight draws go through the forward pass. Both are antithetic: the
noise and its negative cancel what is odd in them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from symdiag.arrays import Array, BoolArray, IntArray
from symdiag.network import Network, forward_mlp
from symdiag.network.functional import ACTIVATION_FUNCTIONS
from symdiag.objectives.likelihoods.interface import Likelihood
from symdiag.objectives.variational import Layout
from symdiag.posterior import Posterior
from symdiag.priors import Prior

REPLICATES = 24
"""Independent estimates of every gradient; their spread is its Monte Carlo error."""

_WORK = 1e10  # multiplications and additions in all, a few seconds of one core
_PER_UNIT = 40  # multiplications that a unit's own noise and activation cost as much as
_MOST_PASSES = 64  # per replicate; beyond that the scatter between weights is what counts
_POINTS = 5_000  # per pass: larger data sets are sampled, anew for each replicate
_CELLS = 2_000_000  # draws × points × width held at once

Forward = Callable[[Mapping[str, Tensor], Tensor], Tensor]


@dataclass(frozen=True)
class Trained:
    """A posterior and all that its loss depended on.

    ``log_noise`` is None where the noise std is not known. ``held`` names tensors that are no
    weights of the network. ``network`` is the chain that ``forward`` computes, where it is one.
    """

    posterior: Posterior
    prior: Prior
    forward: Forward
    network: Network | None
    likelihood: Likelihood
    inputs: Tensor  # (N, ...)
    targets: Tensor  # (N, ...)
    log_noise: float | None = None
    held: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class Gradients:
    """Per random weight (D,), nats: the two sides over the log std, and over the mean times the std.

    ``tensor`` is the index of each weight's tensor in ``names``.
    """

    names: tuple[str, ...]
    tensor: IntArray
    fit_log_std: Array  # ∂E[log p]/∂log σ
    fit_log_std_error: Array
    kl_log_std: Array  # ∂KL/∂log σ: σ²/s² − 1 for a Gaussian prior
    fit_mean: Array  # σ ∂E[log p]/∂μ
    fit_mean_error: Array
    kl_mean: Array  # σ ∂KL/∂μ: σ (μ − m)/s²
    log_noise: float
    method: str
    draws: int  # forward passes over the data
    shared_error: float = 0.0  # of a slope, relative: Monte Carlo error common to all weights

    def take(self, chosen: BoolArray) -> Gradients:
        """Some of the weights."""
        kept = {
            name: value[chosen] for name, value in vars(self).items() if hasattr(value, "dtype")
        }
        return replace(self, **kept)


def measure_gradients(trained: Trained, *, seed: int = 0, work: float = _WORK) -> Gradients:
    """Both sides at the posterior. ``work`` bounds the arithmetic; the result depends on the seed.

    Where the noise std is not known, it is the one that maximises E[log p] (the root mean square
    of the residuals over points and draws): the value at which a learned one is stationary.
    """
    layout = Layout.of(trained.posterior, trained.held)
    scale = layout.join(trained.posterior.scale)
    source = _source(trained, layout, np.random.default_rng([seed, 31]))
    passes = _passes(trained, source.cost(), work)
    log_noise = trained.log_noise
    if log_noise is None:
        log_noise = _best_log_noise(trained, source, passes)
    means, stds = [], []
    for _ in range(REPLICATES):
        for_mean, for_log_std = source.gradients(passes, log_noise)
        means.append(for_mean * scale)
        stds.append(for_log_std)
    random = scale > 0
    fit_mean, fit_mean_error = _mean_and_error(np.stack(means)[:, random])
    fit_log_std, fit_log_std_error = _mean_and_error(np.stack(stds)[:, random])
    # also with correlations, for scaling a weight at fixed correlations: log|SCS| = 2 Σ log s
    kl_log_std, kl_mean = (side[random] for side in _pulls(trained, layout))
    # as a slope per replicate: the outputs' noise moves the gradients of all weights together
    along = np.stack(stds)[:, random] @ kl_log_std
    shared, shared_error = (float(v[0]) for v in _mean_and_error(along[:, None]))
    sizes = [math.prod(shape) for _, shape in layout.shapes]
    return Gradients(
        names=tuple(name for name, _ in layout.shapes),
        tensor=np.repeat(np.arange(len(sizes)), sizes)[random],
        fit_log_std=fit_log_std,
        fit_log_std_error=fit_log_std_error,
        kl_log_std=kl_log_std,
        fit_mean=fit_mean,
        fit_mean_error=fit_mean_error,
        kl_mean=kl_mean,
        log_noise=log_noise,
        method=source.method,
        draws=REPLICATES * passes,
        shared_error=shared_error / max(abs(shared), 1e-300),
    )


def _pulls(trained: Trained, layout: Layout) -> tuple[Array, Array]:
    """Of the KL at log stds and means (D,); without meaning where a std is 0."""
    found: list[dict[str, Array]] = [{}, {}]
    for name, _ in layout.shapes:
        scale = trained.posterior.scale[name]
        pulls = trained.prior.pulls(
            name, trained.posterior.loc[name], np.where(scale > 0, scale, 1.0)
        )
        for side, values in zip(found, pulls, strict=True):
            side[name] = values
    return layout.join(found[0]), layout.join(found[1])


def _mean_and_error(replicates: Array) -> tuple[Array, Array]:
    error = replicates.std(0, ddof=1) / math.sqrt(len(replicates))
    return replicates.mean(0), error


def _passes(trained: Trained, cost: float, work: float) -> int:
    """Draws per replicate, even: as many as the work allows at ``cost`` per point."""
    # backward costs twice the forward pass; an addition goes with each multiplication
    allowed = work / (REPLICATES * 6.0 * cost * min(len(trained), _POINTS))
    return 2 * max(1, min(_MOST_PASSES, int(allowed)) // 2)


def _best_log_noise(trained: Trained, source: _Source, passes: int) -> float:
    if not trained.likelihood.has_noise:
        return 0.0
    with torch.no_grad():
        index = source.points()
        outputs = source.outputs(passes, index)[0].double()
        residual = outputs - trained.targets[index].double()
    return 0.5 * math.log(max(1e-12, float(residual.square().mean())))


class _Source:
    """Draws of the network's outputs as functions of means and log stds."""

    method = ""

    def __init__(self, trained: Trained, layout: Layout, generator: np.random.Generator) -> None:
        self.trained, self.layout, self.generator = trained, layout, generator
        self.dtype, self.device = trained.inputs.dtype, trained.inputs.device
        self._seed = torch.Generator().manual_seed(int(generator.integers(2**62)))

    def cost(self) -> float:
        """Multiplications of a forward pass, per point; a network's own is not known better."""
        return float(self.layout.size)

    def points(self) -> Tensor:
        """Indices of the points of one pass."""
        count = len(self.trained)
        if count <= _POINTS:
            return torch.arange(count, device=self.device)
        return torch.randperm(count, generator=self._seed)[:_POINTS].to(self.device)

    def gradients(self, passes: int, log_noise: float) -> tuple[Array, Array]:
        """∂E[log p]/∂μ and ∂E[log p]/∂log σ from ``passes`` draws, (D,) each, float64."""
        index = self.points()
        # each pass as many draws as memory allows, an even number of them
        step = max(2, min(passes, _CELLS // (len(index) * self._width()) // 2 * 2))
        total_mean, total_std = np.zeros(self.layout.size), np.zeros(self.layout.size)
        noise = torch.tensor(log_noise, dtype=self.dtype, device=self.device)
        for start in range(0, passes, step):
            draws = min(step, passes - start)
            outputs, leaves = self.outputs(draws, index)
            points = self.trained.likelihood.log_prob(outputs, self.trained.targets[index], noise)
            for_mean, for_std = torch.autograd.grad(points.sum(), leaves)
            total_mean += for_mean.double().cpu().numpy()
            total_std += for_std.double().cpu().numpy()
        # a sample of the points stands for all of them
        factor = len(self.trained) / len(index) / passes
        return total_mean * factor, total_std * factor

    def outputs(self, draws: int, index: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Outputs (S, N, d), and the means and log stds (D,) that they depend on."""
        raise NotImplementedError

    def _width(self) -> int:
        raise NotImplementedError

    def _leaf(self, values: Array) -> Tensor:
        return torch.tensor(values, dtype=self.dtype, device=self.device, requires_grad=True)

    def _noise(self, draws: int, *shape: int) -> Tensor:
        """Standard normal (S, ...), the second half the negative of the first."""
        half = torch.randn((draws // 2, *shape), generator=self._seed, dtype=self.dtype)
        return torch.cat([half, -half]).to(self.device)


class _Chain(_Source):
    """Local reparametrisation of a chain of linear layers."""

    method = "local-reparametrization"

    def __init__(self, trained: Trained, layout: Layout, generator: np.random.Generator) -> None:
        super().__init__(trained, layout, generator)
        self._loc = layout.join(trained.posterior.loc)
        scale = layout.join(trained.posterior.scale)
        self._random = torch.tensor(scale > 0, dtype=self.dtype, device=self.device)
        self._log_scale = np.log(np.where(scale > 0, scale, 1.0))

    def cost(self) -> float:
        """A product for the means, one for the variances, and noise for every unit."""
        assert self.trained.network is not None
        units = sum(layer.out_features for layer in self.trained.network.layers)
        return 2.0 * self.layout.size + _PER_UNIT * units

    def outputs(self, draws: int, index: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Layer by layer, every draw and point with noise of its own."""
        assert self.trained.network is not None
        network, hidden = self.trained.network, self.trained.inputs[index]
        loc, log_scale = self._leaf(self._loc), self._leaf(self._log_scale)
        means = self.layout.split(loc)
        variances = self.layout.split(torch.exp(2.0 * log_scale) * self._random)
        activate = ACTIVATION_FUNCTIONS[network.activation or "identity"]
        for number, layer in enumerate(network.layers):
            weight, variance = means[layer.weight], variances[layer.weight]
            if not layer.in_out:
                weight, variance = weight.T, variance.T
            hidden = hidden if number == 0 else activate(hidden)
            center, spread = hidden @ weight, hidden.square() @ variance
            if layer.bias is not None:
                center = center + means[layer.bias].reshape(-1)
                spread = spread + variances[layer.bias].reshape(-1)
            # the slope of a root is infinite at 0, where all weights are deterministic
            root = torch.sqrt(spread + 1e-30)
            hidden = center + root * self._noise(draws, *center.shape[-2:])
        return hidden, (loc, log_scale)

    def _width(self) -> int:
        assert self.trained.network is not None
        return max(layer.out_features for layer in self.trained.network.layers)


class _Weights(_Source):
    """Whole weight draws through any forward pass, correlated ones too."""

    method = "weight-draws"

    def __init__(self, trained: Trained, layout: Layout, generator: np.random.Generator) -> None:
        super().__init__(trained, layout, generator)
        self._loc = layout.join(trained.posterior.loc)
        self._rest = {n: trained.posterior.loc[n] for n in trained.held}

    def outputs(self, draws: int, index: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Draws ω = μ + (ω − μ) e^t with t = 0, the change of all log stds at fixed correlations."""
        loc, stretch = self._leaf(self._loc), self._leaf(np.zeros_like(self._loc))
        half = self.trained.posterior.sample(self.generator, draws // 2)
        noise = np.concatenate(
            [
                (half[n] - self.trained.posterior.loc[n]).reshape(draws // 2, -1)
                for n, _ in self.layout.shapes
            ],
            axis=1,
        )
        # (S, D)
        signed = torch.tensor(np.concatenate([noise, -noise]), dtype=self.dtype).to(self.device)
        weights = self.layout.split(loc + signed * torch.exp(stretch))
        for name, value in self._rest.items():
            kept = torch.tensor(value, dtype=self.dtype, device=self.device)
            weights[name] = kept.expand(draws, *value.shape)
        outputs = self.trained.forward(weights, self.trained.inputs[index])
        return outputs.reshape(*outputs.shape[:2], -1), (loc, stretch)

    def _width(self) -> int:
        return max(shape[0] if shape else 1 for _, shape in self.layout.shapes)


def _source(trained: Trained, layout: Layout, generator: np.random.Generator) -> _Source:
    """Local reparametrisation wherever the forward pass is a chain's, to rounding."""
    network = trained.network
    if network is None or not network.is_mlp or not trained.posterior.is_mean_field:
        return _Weights(trained, layout, generator)
    if network.activation is None and len(network.layers) > 1:
        return _Weights(trained, layout, generator)
    # a module may scale or add what the tensors do not show: the functions are compared, not names
    weights = {
        name: torch.tensor(value, dtype=trained.inputs.dtype, device=trained.inputs.device)
        for name, value in trained.posterior.sample(np.random.default_rng(0), 2).items()
    }
    inputs = trained.inputs[:16]
    with torch.no_grad():
        theirs = trained.forward(weights, inputs)
        ours = forward_mlp(network, weights, inputs)
    tolerance = 1e-4 if inputs.dtype == torch.float32 else 1e-8
    same = theirs.shape == ours.shape and torch.allclose(theirs, ours, tolerance, tolerance)
    return (_Chain if same else _Weights)(trained, layout, generator)
