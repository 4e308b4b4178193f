"""How much the mean function changes when units are switched off, in predictive stds.

Two functions of a set of units: by weight draws, for any network, and by moments, for wide chains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from symdiag.arrays import Array
from symdiag.network import Network
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Member, PermutationSpec

Forward = Callable[[Mapping[str, Any], Any], Any]
"""(name → (S, *shape) weights and buffers, inputs (N, ...)) → outputs (S, N, d), torch tensors."""

Units = Mapping[str, NDArray[np.bool_]]
"""Group name → (n,) mask."""

_DRAWS, _LEAST_DRAWS = 512, 32
_NUMBERS, _PRODUCTS = 1e7, 2e9  # weights drawn, and multiplications, in one evaluation
# weights drawn, and the widest layer's activations, at once: what the cache holds, more is handed back
# to the system after each step
_CHUNK = 500_000
_NODES = 16  # of the quadrature over a pre-activation


class Change(Protocol):
    """The change that switching units off makes, predictive stds; the largest one over outputs.

    Both the function of the mean weights and the mean of the function over q count. Beyond
    ``enough`` any value above it may be returned.
    """

    def __call__(self, units: Units, enough: float = np.inf) -> float:
        """Root mean square over inputs of the change, over that of the predictive std."""
        ...


@dataclass
class SampledChange:
    """The change of the mean function when units are switched off, in predictive stds.

    Both the function of the mean weights and the mean of the function over q count, the larger one;
    per output, the largest one. The same weight draws serve with and without the units, in pairs
    reflected at the means: what is linear in the noise cancels.
    """

    posterior: Posterior
    spec: PermutationSpec
    forward: Forward
    inputs: Array  # (N, ...)
    seed: int = 0
    _whole: list[Any] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        size = max(1, self.posterior.num_parameters)
        self._draws = int(np.clip(_NUMBERS / size, _LEAST_DRAWS, _DRAWS)) // 2 * 2
        points = int(np.clip(_PRODUCTS / (self._draws * size), 16, len(self.inputs)))
        self.inputs = self.inputs[: max(1, points)]

    def __call__(self, units: Units, enough: float = np.inf) -> float:
        """√(squared change + 2 standard errors) / predictive std; 0 without any units."""
        if not any(mask.any() for mask in units.values()):
            return 0.0
        keep = keep_masks(self.posterior, self.spec, units)
        if not self._whole:
            ones = {name: np.ones_like(loc) for name, loc in self.posterior.loc.items()}
            self._whole = [self._at_mean(ones), self._drawn(ones)]
        at_mean, drawn = self._whole  # (N, d), (S, N, d)
        variance = drawn.var(axis=0).mean(axis=0)  # (d,) over the inputs
        squared = ((self._at_mean(keep) - at_mean) ** 2).mean(axis=0)  # (d,)
        if (found := _largest(squared, variance, at_mean)) > enough:
            return found  # the draws cannot make it smaller
        change, half = self._drawn(keep) - drawn, len(drawn) // 2
        pairs = 0.5 * (change[:half] + change[half:])  # (S/2, N, d)
        return _largest(np.maximum(squared, _squared_mean(pairs)), variance, at_mean)

    def _at_mean(self, keep: Mapping[str, Array]) -> Array:
        """Outputs (N, d) of the mean weights."""
        outputs: Array = self._run({n: (v * keep[n])[None] for n, v in self.posterior.loc.items()})[
            0
        ]
        return outputs

    def _drawn(self, keep: Mapping[str, Array]) -> Array:
        """Outputs (S, N, d) of the draws: the first half, then its reflections at the means."""
        generator = np.random.default_rng([self.seed, 13])
        loc = self.posterior.loc
        widest = max((group.width for group in self.spec), default=1)
        largest = max(1, self.posterior.num_parameters, len(self.inputs) * widest)
        chunk = max(1, _CHUNK // largest)
        first, second = [], []
        left = self._draws // 2
        while left > 0:
            count = min(chunk, left)
            drawn = self.posterior.sample(generator, count)
            first.append(self._run({n: v * keep[n] for n, v in drawn.items()}))
            second.append(self._run({n: (2.0 * loc[n] - v) * keep[n] for n, v in drawn.items()}))
            left -= count
        return np.concatenate([*first, *second])

    def _run(self, weights: Mapping[str, Array]) -> Array:
        count = len(next(iter(weights.values())))
        buffers = {
            n: np.broadcast_to(b, (count, *np.shape(b))) for n, b in self.posterior.buffers.items()
        }
        return outputs_of(self.forward, {**buffers, **weights}, self.inputs)


def outputs_of(forward: Forward, weights: Mapping[str, Array], inputs: Array) -> Array:
    """Outputs (S, N, d), float64, of a forward pass given NumPy weights (S, *shape)."""
    import torch

    count = len(next(iter(weights.values())))
    tensors = {n: torch.tensor(v) for n, v in weights.items()}
    with torch.no_grad():
        outputs = forward(tensors, torch.from_numpy(np.ascontiguousarray(inputs)))
    result: Array = outputs.double().reshape(count, len(inputs), -1).numpy()
    return result


def _squared_mean(values: Array) -> Array:
    """|mean|² per output over inputs, from independent values (S, N, d), plus 2 standard errors.

    The square of an average of S values is too large by their variance over S; products of
    *different* values are not. The standard error is that of this U-statistic where the mean is
    zero.
    """
    count, points, size = values.shape
    result = np.empty(size)
    off = ~np.eye(count, dtype=bool)
    for k in range(size):
        gram = (values[:, :, k] @ values[:, :, k].T / points)[off]  # (S (S - 1),)
        error = np.sqrt(2.0 * (gram**2).mean() / (count * (count - 1)))
        result[k] = max(0.0, gram.mean() + 2.0 * error)
    return result


@dataclass
class MomentChange:
    """The same by propagating means and variances through a chain of linear layers, without draws.

    Exact up to quadrature for one hidden layer: given the input, a pre-activation is Gaussian and
    independent of the weights that leave its unit. Deeper, pre-activations are taken as Gaussian
    and independent of each other, which sums over many units make them nearly.
    """

    posterior: Posterior
    spec: PermutationSpec
    network: Network
    inputs: Array  # (N, features)
    _whole: list[Any] = field(default_factory=list, init=False)

    def __call__(self, units: Units, enough: float = np.inf) -> float:
        """Change in predictive stds; 0 without any units."""
        if not any(mask.any() for mask in units.values()):
            return 0.0
        if not self._whole:
            ones = {name: np.ones_like(loc) for name, loc in self.posterior.loc.items()}
            self._whole = list(self._moments(ones))
        at_mean, mean, variance = self._whole
        keep = keep_masks(self.posterior, self.spec, units)
        at_mean_off, mean_off, _ = self._moments(keep)
        squared = np.maximum(
            ((at_mean_off - at_mean) ** 2).mean(axis=0), ((mean_off - mean) ** 2).mean(axis=0)
        )
        return _largest(squared, variance.mean(axis=0), at_mean)

    def _moments(self, keep: Mapping[str, Array]) -> tuple[Array, Array, Array]:
        """The network of the means, mean and variance of the outputs, (N, d) each."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
        weights = weights / weights.sum()
        act = _activation(self.network)
        plain, mean, variance = self.inputs, self.inputs, np.zeros_like(self.inputs)
        for k, layer in enumerate(self.network.layers):
            if k > 0:
                std = np.sqrt(variance)
                values = [act(mean + z * std) for z in nodes]
                mean = sum(w * v for w, v in zip(weights, values, strict=True))
                variance = sum(w * (v - mean) ** 2 for w, v in zip(weights, values, strict=True))
                plain = act(plain)
            loc, scale = (
                source[layer.weight] * keep[layer.weight]
                for source in (self.posterior.loc, self.posterior.scale)
            )
            loc, scale = (a if layer.in_out else a.T for a in (loc, scale))  # (in, out)
            # Var Σ w h = Σ σ² E h² + μ² Var h
            variance = (mean**2 + variance) @ scale**2 + variance @ loc**2
            plain, mean = plain @ loc, mean @ loc
            if layer.bias is not None:
                bias = self.posterior.loc[layer.bias] * keep[layer.bias]
                plain, mean = plain + bias.reshape(-1), mean + bias.reshape(-1)
                spread = self.posterior.scale[layer.bias] * keep[layer.bias]
                variance = variance + spread.reshape(-1) ** 2
        return plain, mean, variance


def _activation(network: Network) -> Callable[[Array], Array]:
    """The chain's activation on NumPy arrays."""
    import torch

    from symdiag.network.functional import ACTIVATION_FUNCTIONS

    function = ACTIVATION_FUNCTIONS[network.activation or "identity"]
    return lambda values: np.asarray(function(torch.from_numpy(values)), dtype=np.float64)


def _largest(squared: Array, variance: Array, at_mean: Array) -> float:
    """Largest ratio over outputs, as a root; without any spread no change beyond rounding is small."""
    floor = 1e-12 * np.maximum(1e-300, (at_mean**2).mean(axis=0))
    return float(np.sqrt((squared / np.maximum(variance, floor)).max()))


def keep_masks(posterior: Posterior, spec: PermutationSpec, units: Units) -> dict[str, Array]:
    """Name → array of the tensor's shape, 0 on every weight of the units, 1 elsewhere."""
    keep = {name: np.ones_like(loc) for name, loc in posterior.loc.items()}
    for group in spec.restricted(posterior.loc):
        for member in group.members:
            index = positions(member, group.width, units[group.name])
            keep[member.tensor][(slice(None),) * member.axis + (index,)] = 0.0
    return keep


def positions(member: Member, width: int, units: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Where along its axis a member's entries of the given units (n,) lie."""
    span = member.span(width)
    mask = np.broadcast_to(units[:, None], (member.outer, width, member.inner)).reshape(-1)
    return np.flatnonzero(mask) + (span.start or 0)
