r"""Training one single-hidden-layer posterior with any of the three objectives, by hand-written gradients.

A grid of hundreds of runs has to fit in minutes on one core; at these sizes autograd spends its time on overhead. The
likelihood's gradient is ordinary backpropagation. The two symmetrised objectives differ only in the marginals
P (n, n) that they put into one formula: with A_ij = log q_i(±ω_j) and b = ω_jk the k-th weight of unit j,

    ∂/∂μ_ik = σ_ik⁻² (F_ik − b_ik),   ∂/∂log σ_ik = σ_ik⁻² (S_ik − 2 μ_ik F_ik + μ_ik² − (b_ik − μ_ik)²),
    F_ik = Σ_j (P⁺ − P⁻)_ij b_jk,     S_ik = Σ_j (P⁺ + P⁻)_ij b_jk²,

and the derivative in the draw itself. P are the permanental marginals for log perm, and softmax-weighted
uniform permutations for the paper's I^K. Tests compare with the library's own objective.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.paper.nets import Net, Schedule, State, Task
from symdiag.permanents import swap_marginals
from symdiag.permanents.exact import exact_marginals

Array = NDArray[np.float64]

EXACT_WIDTH = 6  # up to here the permanental marginals are exact at every step
LIKELIHOODS = {"gaussian": 0, "bernoulli": 1, "categorical": 2}


@numba.njit(cache=True, fastmath=True)
def likelihood_gradient(x, y, kind, noise, tanh, width, outputs, weights, gradient):
    """Fill ``gradient`` (S, D) with d/dω of −Σ_n log p(y_n | x_n, ω_s); returns nothing."""
    count, inputs = x.shape
    bias, second = width * inputs, width * (inputs + 1)
    last = second + outputs * width
    hidden, back = np.empty(width), np.empty(width)
    out = np.empty(outputs)
    for s in range(len(weights)):
        w, g = weights[s], gradient[s]
        g[:] = 0.0
        for n in range(count):
            for j in range(width):
                total = w[bias + j]
                for k in range(inputs):
                    total += w[j * inputs + k] * x[n, k]
                hidden[j] = math.tanh(total) if tanh else max(total, 0.0)
                back[j] = 0.0
            for o in range(outputs):
                total = w[last + o]
                for j in range(width):
                    total += w[second + o * width + j] * hidden[j]
                out[o] = total
            _residual(out, y[n], kind, noise)
            for o in range(outputs):
                g[last + o] += out[o]
                for j in range(width):
                    g[second + o * width + j] += out[o] * hidden[j]
                    back[j] += out[o] * w[second + o * width + j]
            for j in range(width):
                slope = (
                    back[j] * (1.0 - hidden[j] ** 2)
                    if tanh
                    else (back[j] if hidden[j] > 0.0 else 0.0)
                )
                if slope != 0.0:
                    g[bias + j] += slope
                    for k in range(inputs):
                        g[j * inputs + k] += slope * x[n, k]


@numba.njit(cache=True, fastmath=True)
def _residual(out, target, kind, noise):
    """Outputs → derivative of −log p in them, in place."""
    if kind == 0:
        out[0] = (out[0] - target) / noise**2
    elif kind == 1:
        out[0] = 1.0 / (1.0 + math.exp(-out[0])) - target
    else:
        out -= out.max()
        np.exp(out, out)
        out /= out.sum()
        out[int(target)] -= 1.0


@numba.njit(cache=True, fastmath=False)
def log_densities(mean, precision, blocks, sign):
    """log q_i(±ω_j), (S, n, n), up to a constant that drops out: −log σ cancels as well when rows sum to one."""
    draws, n, size = blocks.shape
    result = np.zeros((draws, n, n))
    for s in range(draws):
        for i in range(n):
            for j in range(n):
                total = 0.0
                for k in range(size):
                    total += precision[i, k] * (sign * blocks[s, j, k] - mean[i, k]) ** 2
                result[s, i, j] = -0.5 * total
    return result


def permanent_marginals(
    kept: Array, flipped: Array | None, rng: np.random.Generator, *, exact: bool = False
):
    """(P⁺, P⁻) of log perm."""
    both = kept if flipped is None else np.logaddexp(kept, flipped)
    relative = np.ascontiguousarray(both - np.diagonal(kept, axis1=1, axis2=2)[:, None, :])
    exact = exact or kept.shape[-1] <= EXACT_WIDTH
    shares = exact_marginals(relative)[1] if exact else swap_marginals(relative, rng)
    if flipped is None:
        return shares, None
    stays = shares / (1.0 + np.exp(np.minimum(flipped - kept, 700.0)))
    return stays, shares - stays


def infonce_marginals(kept: Array, flipped: Array | None, rng: np.random.Generator, elements: int):
    """(P⁺, P⁻) of log (1/K) Σ_k q(g_k ω)/q(ω), g_0 the identity: softmax-weighted permutation matrices."""
    draws, n, _ = kept.shape
    order = rng.permuted(np.tile(np.arange(n), (elements, 1)), axis=1)
    order[0] = np.arange(n)
    turned = np.zeros((elements, n), dtype=bool)
    if flipped is not None:
        turned = rng.random((elements, n)) < 0.5
        turned[0] = False
    rows = np.arange(n)
    values = (
        kept[:, rows, order]
        if flipped is None
        else np.where(turned, flipped[:, rows, order], kept[:, rows, order])
    )
    logs = values.sum(-1)  # (S, K)
    share = np.exp(logs - logs.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    cells = (rows * n + order).ravel()

    def gather(chosen: NDArray[np.bool_]) -> Array:
        weights = (share[:, :, None] * chosen).reshape(draws, -1)
        return np.stack([np.bincount(cells, w, n * n) for w in weights]).reshape(kept.shape)

    return gather(~turned), (None if flipped is None else gather(turned))


def term_gradient(mean: Array, precision: Array, blocks: Array, plus: Array, minus: Array | None):
    """Derivatives of the term summed over draws: in the means (n, K), log stds (n, K) and draws (S, n, K)."""
    net = plus if minus is None else plus - minus
    total = plus if minus is None else plus + minus
    first, second = net @ blocks, total @ blocks**2
    centred = blocks - mean
    d_mean = (precision * (first - blocks)).sum(0)
    d_log_scale = (precision * (second - 2.0 * mean * first + mean**2 - centred**2)).sum(0)
    d_draw = net.transpose(0, 2, 1) @ (precision * mean) - blocks * (
        total.transpose(0, 2, 1) @ precision
    )
    return d_mean, d_log_scale, d_draw + precision * centred


class Trainer:
    """One posterior under training; ``objective`` is elbo, infonce or symmetrized."""

    def __init__(self, net: Net, task: Task, member: int = 0) -> None:
        self.net, self.index = net, net.unit_index().numpy()
        self.x = np.ascontiguousarray(task.x[member].double().numpy())
        self.y = np.ascontiguousarray(task.y[member].double().numpy())
        self.kind = LIKELIHOODS[task.likelihood]
        self.noise = 1.0 if task.noise is None else float(task.noise[member])
        self.tanh, (_, self.width, self.outputs) = net.activation == "tanh", net.sizes

    def __call__(
        self,
        loc: Array,
        log_scale: Array,
        objective: str,
        schedule: Schedule,
        keep: tuple[int, ...] = (),
    ) -> tuple[Array, Array, dict[int, tuple[Array, Array]]]:
        """Train from (loc, log_scale), each (D,); also the states after the steps in ``keep``.

        Equal seeds see equal batches and weight noise whatever the objective.
        """
        state = np.stack([loc, log_scale])
        first, second = np.zeros_like(state), np.zeros_like(state)
        noise, batches, chain = (np.random.default_rng([schedule.seed, k]) for k in range(3))
        kept = {}
        for step in range(schedule.steps):
            epsilon = noise.standard_normal((schedule.draws, self.net.size))
            gradient = self.gradient(
                state, epsilon, self._batch(schedule, batches), objective, chain, schedule.elements
            )
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            rate = 0.5 * schedule.rate * (1.0 + math.cos(math.pi * step / schedule.steps))
            move = (
                first
                / (1 - 0.9 ** (step + 1))
                / (np.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-8)
            )
            state = state - rate * move
            if step + 1 in keep:
                kept[step + 1] = (state[0].copy(), state[1].copy())
        return state[0], state[1], kept

    def _batch(self, schedule: Schedule, rng: np.random.Generator) -> NDArray[np.intp] | None:
        if schedule.batch is None or schedule.batch >= len(self.x):
            return None
        return rng.choice(len(self.x), schedule.batch, replace=False)

    def gradient(
        self,
        state: Array,
        epsilon: Array,
        batch: NDArray[np.intp] | None,
        objective: str,
        rng: np.random.Generator,
        elements: int = 20,
        *,
        exact: bool = False,
    ) -> Array:
        """d/d(loc, log_scale), (2, D), of −L (+ the objective's term), an average over the draws of ``epsilon``."""
        loc, log_scale = state
        scale = np.exp(log_scale)
        draws = loc + scale * epsilon
        x, y = (self.x, self.y) if batch is None else (self.x[batch], self.y[batch])
        per_draw = np.empty_like(draws)
        likelihood_gradient(
            x, y, self.kind, self.noise, self.tanh, self.width, self.outputs, draws, per_draw
        )
        per_draw *= len(self.x) / len(x)
        result = np.stack([loc, scale**2 - 1.0]) * len(draws)
        if objective != "elbo":
            self._add_term(state, draws, per_draw, result, objective, rng, elements, exact)
        result[0] += per_draw.sum(0)
        result[1] += (per_draw * epsilon).sum(0) * scale
        return result / len(draws)

    def _add_term(self, state, draws, per_draw, result, objective, rng, elements, exact) -> None:
        mean, precision = state[0][self.index], np.exp(-2.0 * state[1][self.index])
        blocks = np.ascontiguousarray(draws[:, self.index])
        offset = state[1][self.index].sum(1)[:, None]
        kept = log_densities(mean, precision, blocks, 1.0) - offset
        flipped = log_densities(mean, precision, blocks, -1.0) - offset if self.tanh else None
        if objective == "symmetrized":
            shares = permanent_marginals(kept, flipped, rng, exact=exact)
        else:
            shares = infonce_marginals(kept, flipped, rng, elements)
        d_mean, d_log_scale, d_draw = term_gradient(mean, precision, blocks, *shares)
        result[0][self.index] += d_mean
        result[1][self.index] += d_log_scale
        per_draw[:, self.index] += d_draw


def train(
    net: Net, task: Task, start: State, objective: str, schedule: Schedule, member: int = 0
) -> State:
    """Train one posterior of ``start``; the result holds that one alone."""
    loc, log_scale = start.loc[member].double().numpy(), start.log_scale[member].double().numpy()
    loc, log_scale, _ = Trainer(net, task, member)(loc, log_scale, objective, schedule)
    return State(torch.from_numpy(loc)[None], torch.from_numpy(log_scale)[None])
