r"""Σ_l H_l against the joint H_G in trained networks with two hidden layers, by enumeration of G = S_a × S_b (or signed).

For ω ~ q and g = (g₁, g₂), log q(g ω)/q(ω) splits into sums over the units of layer 1, of layer 2, and of the matrix
between them, so that every one of the |G| terms is summed directly.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp

from benchmarks.paper.nets import Net, Schedule, State, initial, train_elbo
from benchmarks.paper.plotting import COLOURS, figure
from benchmarks.paper.problems import wave
from benchmarks.paper.study import Row, Settings, Study
from symdiag.estimators import estimate_straddling

Array = NDArray[np.float64]


def elements(width: int, signed: bool) -> tuple[NDArray[np.intp], Array]:
    """All group elements of one layer: permutations (M, n) and signs (M, n); the identity first."""
    orders = np.array(list(itertools.permutations(range(width))))
    signs = (
        np.array(list(itertools.product([1.0, -1.0], repeat=width)))
        if signed
        else np.ones((1, width))
    )
    return np.repeat(orders, len(signs), 0), np.tile(signs, (len(orders), 1))


def log_density(mean: Array, std: Array, value: Array) -> Array:
    return -0.5 * ((value - mean) / std) ** 2 - np.log(std)


def ratios(net: Net, loc: Array, scale: Array, draw: Array) -> Array:
    """log q(g ω) − log q(ω) for every (g₁, g₂), (M₁, M₂); slot i of gω holds ± unit π(i)."""
    (w1, b1), (w2, b2), (w3, _) = _arrays(net, draw)
    (m1, c1), (m2, c2), (m3, _) = _arrays(net, loc)
    (s1, d1), (s2, d2), (s3, _) = _arrays(net, scale)
    p1, e1 = elements(net.sizes[1], net.signed)
    p2, e2 = elements(net.sizes[2], net.signed)
    first = np.array([
        log_density(m1, s1, e[:, None] * w1[p]).sum() + log_density(c1, d1, e * b1[p]).sum() for p, e in zip(p1, e1, strict=True)
    ])  # fmt: skip
    second = np.array([
        log_density(c2, d2, e * b2[p]).sum() + log_density(m3, s3, e * w3[:, p]).sum() for p, e in zip(p2, e2, strict=True)
    ])  # fmt: skip
    # between[±][i, j, k, l]: slot (i, k) of the middle matrix holding ± entry (j, l)
    between = [
        log_density(m2[:, None, :, None], s2[:, None, :, None], sign * w2[None, :, None, :])
        for sign in (1.0, -1.0)
    ]
    rows, cols = np.arange(net.sizes[2]), np.arange(net.sizes[1])
    total = np.empty((len(p1), len(p2)))
    for number, (p, e) in enumerate(zip(p1, e1, strict=True)):
        plus, minus = (
            np.where(e > 0, between[s][..., cols, p], between[1 - s][..., cols, p]).sum(-1)
            for s in (0, 1)
        )
        middle = np.where(e2 > 0, plus[rows, p2], minus[rows, p2]).sum(1)
        total[number] = first[number] + second + middle
    return total - total[0, 0]


def _arrays(net: Net, flat: Array) -> list[tuple[Array, Array]]:
    return [(w.numpy(), b.numpy()) for w, b in net.split(torch.from_numpy(flat))]


def jobs(settings: Settings) -> list[Row]:
    return [
        {"sizes": s, "activation": a, "noise": n}
        for s, a in settings["nets"]
        for n in settings["noises"]
    ]


def run(job: Row, settings: Settings) -> list[Row]:
    net = Net(tuple(job["sizes"]), job["activation"])
    seeds = list(range(settings["seeds"]))
    task = wave(seeds, settings["count"], [job["noise"]] * len(seeds))
    state = train_elbo(net, task, initial(net, seeds), Schedule(settings["steps"], draws=4))
    return [{**job, "seed": s, **_compare(net, state, s, settings)} for s in seeds]


def _compare(net: Net, state: State, member: int, settings: Settings) -> Row:
    loc, scale = (
        state.loc[member].double().numpy(),
        np.exp(state.log_scale[member].double().numpy()),
    )
    rng = np.random.default_rng([member, 8])
    joint, parts = [], []
    for _ in range(settings["draws"]):
        table = ratios(net, loc, scale, loc + scale * rng.standard_normal(net.size))
        joint.append(logsumexp(table))
        parts.append(logsumexp(table[:, 0]) + logsumexp(table[0]))
    gap = np.array(joint) - np.array(parts)
    posterior = net.posterior(state.loc[member], state.log_scale[member].exp())
    found = estimate_straddling(posterior, net.spec, samples=settings["draws"], seed=member).total
    return {
        "log_order": net.spec.log_order,
        "joint": float(np.mean(joint)),
        "sum": float(np.mean(parts)),
        "gap": float(gap.mean()),
        "gap_se": float(gap.std(ddof=1) / math.sqrt(len(gap))),
        "joint_se": float(np.std(joint, ddof=1) / math.sqrt(len(joint))),
        "reported": {"value": found.value, "lower": found.lower, "upper": found.upper},
    }


def summarise(rows: list[Row]) -> Row:
    gaps = np.array([r["gap"] for r in rows])
    inside = [
        r["reported"]["lower"] - 3 * r["joint_se"]
        <= r["joint"]
        <= r["reported"]["upper"] + 3 * r["joint_se"]
        for r in rows
    ]
    return {
        "networks": len(rows),
        "largest_gap": float(gaps.max()),
        "median_gap": float(np.median(gaps)),
        "largest_relative_gap": float(max(r["gap"] / max(r["joint"], 1e-9) for r in rows)),
        "most_negative_gap_in_se": float(min(r["gap"] / max(r["gap_se"], 1e-12) for r in rows)),
        "joint_inside_reported_interval": int(sum(inside)),
        "verdict_changed_by_gap": int(sum((r["sum"] < 1.0) != (r["joint"] < 1.0) for r in rows)),
    }


def draw(rows: list[Row], summary: Row, folder: Path) -> None:
    with figure(folder, "layers", columns=2, size=3.0) as axes:
        left, right = axes[0]
        for activation, colour in (("relu", COLOURS["symmetrized"]), ("tanh", COLOURS["infonce"])):
            mine = [r for r in rows if r["activation"] == activation]
            left.plot(
                [r["sum"] for r in mine],
                [r["joint"] for r in mine],
                "o",
                ms=4,
                color=colour,
                label=activation,
            )
            right.errorbar(
                [r["joint"] for r in mine],
                [r["gap"] for r in mine],
                [2 * r["gap_se"] for r in mine],
                fmt="o",
                ms=4,
                color=colour,
            )
        line = [0.0, max([r["joint"] for r in rows], default=1.0)]
        left.plot(line, line, ":", color="0.5")
        left.set(xlabel="Σ H_l, nats", ylabel="joint H_G by enumeration, nats")
        left.legend(fontsize=7)
        right.set(xlabel="H_G, nats", ylabel="H_G − Σ H_l, nats")


STUDY = Study(
    name="layers",
    settings={
        "nets": [[[1, 5, 5, 1], "relu"], [[1, 4, 6, 1], "relu"], [[1, 3, 3, 1], "tanh"]],
        "noises": [0.3, 1.0],
        "seeds": 4,
        "count": 60,
        "steps": 3000,
        "draws": 128,
    },
    quick={
        "nets": [[[1, 3, 3, 1], "relu"], [[1, 2, 2, 1], "tanh"]],
        "noises": [0.3],
        "seeds": 2,
        "count": 30,
        "steps": 30,
        "draws": 16,
    },
    jobs=jobs,
    run=run,
    summarise=summarise,
    draw=draw,
)
