"""The hot loops, written so that numba compiles them; never called uncompiled outside tests.

Each has a NumPy twin beside its caller that gives the same results. One specialisation each: float64, C-contiguous.
"""

from __future__ import annotations

import numpy as np

from symdiag.permanents.types import Array, IntArray


def subset_permanent(weights: Array, forward: Array, backward: Array, counts: Array, marginals: Array) -> float:
    """Permanent of one (n, n) matrix by subset dynamic programming; marginals too unless ``backward`` is empty.

    ``forward[mask]`` sums over ways to give the first popcount(mask) rows the columns of mask; ``backward`` completes.
    All terms are nonnegative, so there is no cancellation.
    """
    n = weights.shape[0]
    size = forward.shape[0]
    full = size - 1
    forward[0] = 1.0
    for mask in range(1, size):
        row = counts[mask] - 1
        total = 0.0
        for j in range(n):
            if (mask >> j) & 1:
                total += weights[row, j] * forward[mask ^ (1 << j)]
        forward[mask] = total
    if backward.shape[0] == 0:
        return float(forward[full])
    backward[full] = 1.0
    for mask in range(full - 1, -1, -1):
        row = counts[mask]
        total = 0.0
        for j in range(n):
            if not (mask >> j) & 1:
                term = weights[row, j] * backward[mask | (1 << j)]
                total += term
                marginals[row, j] += forward[mask] * term
        backward[mask] = total
    return float(forward[full])


def row_smc(
    odds: Array,
    log_drop: Array,
    uniforms: Array,
    resample_uniforms: Array,
    shuffle_uniforms: Array,
    forced: IntArray,
    threshold: float,
    choices: IntArray,
    ancestors: IntArray,
    log_proposal: Array,
    log_weight: Array,
) -> float:
    """Sequential Monte Carlo over rows; see ``smc.run`` for the meaning of every argument. Returns log Z-hat so far."""
    n, particles = choices.shape
    keep = forced.shape[1]
    free = np.ones((particles, n))
    log_z = 0.0
    order = np.arange(particles)
    offspring = np.zeros(particles, dtype=np.int64)
    weight = np.zeros(particles)
    for t in range(n):
        for k in range(particles):
            total = 0.0
            drop = 0.0
            for j in range(n):
                total += free[k, j] * odds[t, j]
                drop += free[k, j] * log_drop[t, j]
            pick = -1
            if k < keep:
                pick = forced[t, k]
            else:
                goal = uniforms[t, k] * total
                run = 0.0
                for j in range(n):
                    if free[k, j] > 0.0:
                        run += odds[t, j]
                        if odds[t, j] > 0.0 or pick < 0:
                            pick = j
                        if run > goal:
                            break
            choices[t, k] = pick
            free[k, pick] = 0.0
            if total > 0.0 and odds[t, pick] > 0.0:
                log_weight[k] += np.log(total) + drop
                log_proposal[k] += np.log(odds[t, pick]) - np.log(total)
            else:
                log_weight[k] = -np.inf
                log_proposal[k] = -np.inf
        if threshold <= 0.0 or t == n - 1:
            continue
        top = -np.inf
        for k in range(particles):
            top = max(top, log_weight[k])
        if top == -np.inf:
            return -np.inf
        mass = 0.0
        squares = 0.0
        for k in range(particles):
            weight[k] = np.exp(log_weight[k] - top)
            mass += weight[k]
            squares += weight[k] * weight[k]
        if mass * mass >= threshold * particles * squares:
            continue
        log_z += top + np.log(mass / particles)
        shift = resample_uniforms[t, 0]
        if keep > 0:
            for k in range(particles - 1, 1, -1):
                swap = 1 + int(shuffle_uniforms[t, k] * k)
                order[k], order[swap] = order[swap], order[k]
            expected = weight[0] / mass * particles
            whole = np.floor(expected)
            part = expected - whole
            heavy = part * (whole + 1.0)
            if resample_uniforms[t, 1] * (heavy + (1.0 - part) * whole) < heavy:
                shift = shift * part
            else:
                shift = part + shift * (1.0 - part)
        run = 0.0
        before = 0
        for position in range(particles):
            k = order[position]
            run += weight[k] / mass * particles
            after = int(np.ceil(run - shift))
            if position == particles - 1:
                after = particles
            after = min(max(after, before), particles)
            offspring[k] = after - before
            before = after
        if keep > 0 and offspring[0] == 0:
            for k in range(particles):
                if offspring[k] > 0:
                    offspring[k] -= 1
                    break
            offspring[0] = 1
        source = 0
        for k in range(particles):
            ancestors[t, k] = k
        for k in range(particles):
            if offspring[k] == 0:
                while offspring[source] <= 1:
                    source += 1
                offspring[source] -= 1
                ancestors[t, k] = source
                free[k, :] = free[source, :]
        for k in range(particles):
            log_weight[k] = 0.0
    return log_z


def swap_chain(
    log_weights: Array,
    cumulative: Array,
    proposal: Array,
    uniforms: Array,
    state: IntArray,
    occupation: Array,
    burn: int,
) -> int:
    """Metropolis swaps on ``state`` in place; adds the time spent at each (row, column) after ``burn`` steps."""
    n = state.shape[0]
    steps = uniforms.shape[0]
    holder = np.empty(n, dtype=np.int64)
    since = np.full(n, burn)
    for i in range(n):
        holder[state[i]] = i
    accepted = 0
    for t in range(steps):
        i = int(uniforms[t, 0] * n)
        low = 0
        high = n - 1
        goal = uniforms[t, 1] * cumulative[i, n - 1]
        while low < high:
            middle = (low + high) // 2
            if cumulative[i, middle] > goal:
                high = middle
            else:
                low = middle + 1
        j = low
        k = holder[j]
        c = state[i]
        if k == i:
            continue
        gain = log_weights[i, j] + log_weights[k, c] - log_weights[i, c] - log_weights[k, j]
        forth = proposal[i, j] + proposal[k, c]
        back = proposal[i, c] + proposal[k, j]
        if uniforms[t, 2] * forth >= np.exp(min(gain, 700.0)) * back:
            continue
        accepted += 1
        if t >= burn:
            occupation[i, c] += t - since[i]
            occupation[k, j] += t - since[k]
            since[i] = t
            since[k] = t
        state[i] = j
        state[k] = c
        holder[j] = i
        holder[c] = k
    for i in range(n):
        occupation[i, state[i]] += max(steps - since[i], 0)
    return accepted


def bethe_sweeps(weights: Array, rows: Array, beliefs: Array, sweeps: int, tolerance: float) -> int:
    """Belief propagation for the Bethe permanent; see ``bethe.beliefs``. Returns the sweeps used."""
    n = weights.shape[0]
    for sweep in range(sweeps):
        change = 0.0
        # rows[i, j]: message row i -> column j; beliefs is used as scratch for column -> row
        for j in range(n):
            best = -1.0
            second = 0.0
            arg = 0
            total = 0.0
            for i in range(n):
                value = weights[i, j] * rows[i, j]
                beliefs[i, j] = value
                total += value
                if value > best:
                    best = value
                    arg = i
            for i in range(n):
                if i != arg:
                    second += beliefs[i, j]
            for i in range(n):
                rest = total - beliefs[i, j]
                if i == arg:
                    rest = second
                beliefs[i, j] = 1.0 / max(rest, 1e-300)
        for i in range(n):
            best = -1.0
            second = 0.0
            arg = 0
            total = 0.0
            for j in range(n):
                value = weights[i, j] * beliefs[i, j]
                total += value
                if value > best:
                    best = value
                    arg = j
            for j in range(n):
                if j != arg:
                    second += weights[i, j] * beliefs[i, j]
            for j in range(n):
                rest = total - weights[i, j] * beliefs[i, j]
                if j == arg:
                    rest = second
                new = 1.0 / max(rest, 1e-300)
                old = rows[i, j]
                change = max(change, abs(new - old) / (new + old))
                rows[i, j] = np.sqrt(new * old) if sweep > 200 else new
        if change < tolerance:
            return sweep + 1
    return sweeps
