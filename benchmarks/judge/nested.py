"""Bounds and Laplace's evidence beside log Z by nested sampling, on nets of at most 13 weights.

    pip install dynesty laplace-torch
    python -m benchmarks.judge.nested run [SECONDS]       # goes on where it stopped
    python -m benchmarks.judge.nested table               # results/nested.json -> nested.md

One hidden layer of 1 to 4 units on six data sets. log Z is taken over one copy of every mode (units
ordered by their outgoing weight, signs fixed for tanh), where the prior is |G| times as dense: the
same integral without |G| modes to be found. Then L, L^G and the importance-weighted bound of one
mean-field posterior, and Laplace's evidence about the best of four MAP estimates (full GGN) with
and without I(g; ω).
"""

from __future__ import annotations

import itertools
import json
import math
import sys
import time
import warnings
from pathlib import Path

import numba
import numpy as np
import torch
from scipy import stats
from scipy.special import logsumexp, ndtri

import symdiag
from symdiag.posterior import Posterior
from symdiag.training.data import Dataset

RESULTS = Path(__file__).parent / "results" / "nested.json"
TABLE = Path(__file__).parent / "nested.md"
WIDTHS = (1, 2, 3, 4)  # 4, 7, 10 and 13 weights
DATA = tuple(itertools.product(("tanh", "relu"), (10, 20, 40), (0.3,)))  # activation, N, noise
STEPS, DRAWS, STARTS, LIVE, SAMPLED = 1000, 16, 4, 200, 60_000


def data(count, noise):
    rng = np.random.default_rng([count, round(100 * noise)])
    x = rng.uniform(-2.0, 2.0, (count, 1))
    return x, np.sin(1.5 * x) + noise * rng.standard_normal((count, 1))


@numba.njit(cache=True)
def _log_likelihood(w, width, x, y, noise, tanh):
    total = 0.0
    for point in range(len(x)):
        value = w[3 * width]
        for unit in range(width):
            hidden = x[point] * w[width + unit] + w[2 * width + unit]
            value += w[unit] * (math.tanh(hidden) if tanh else max(hidden, 0.0))
        total += (y[point] - value) ** 2
    return -0.5 * total / noise**2 - len(x) * math.log(noise * math.sqrt(2.0 * math.pi))


def nested(x, y, width, activation, noise, seed):
    """log Z and its error by dynesty, over the units' canonical order and signs."""
    from dynesty import NestedSampler

    x, y, tanh = x[:, 0].copy(), y[:, 0].copy(), activation == "tanh"
    powers = 1.0 / np.arange(1, width + 1)

    def prior(u):
        # uniform order statistics, largest first, one-to-one: x_(n) = u^(1/n), x_(i) = x_(i+1) u^(1/i)
        ordered = np.cumprod((u[:width] ** powers)[::-1])[::-1]
        return ndtri(np.concatenate([0.5 * (1.0 + ordered) if tanh else ordered, u[width:]]))

    def log_likelihood(w):
        return _log_likelihood(w, width, x, y, noise, tanh)

    sampler = NestedSampler(
        log_likelihood, prior, 3 * width + 1, nlive=LIVE, sample="rwalk", walks=25,
        rstate=np.random.default_rng(seed),
    )  # fmt: skip
    sampler.run_nested(print_progress=False, dlogz=0.05)
    found = sampler.results
    return float(found.logz[-1]), float(found.logzerr[-1])


def sampled(nets, x, y, width, activation, noise, log_order, seed):
    """log Z by importance sampling about the MAP estimates, an independent check; effective draws.

    The proposal mixes a Student t (4 degrees of freedom, twice the covariance) at each of the local
    maxima of the canonical labelling, where the prior is |G| times as dense. What it does not
    reach is missing: the estimate can fail low, not high.
    """
    rng = np.random.default_rng(seed)
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)[:, 0]
    act = torch.tanh if activation == "tanh" else torch.relu

    def log_joint(w):  # (S, D) in the layout of ``nested``: outgoing, incoming, biases, bias
        out, a, b = (w[:, None, k * width : (k + 1) * width] for k in range(3))
        mean = (act(inputs * a + b) * out).sum(-1) + w[:, -1:]  # (S, N)
        fit = -0.5 * ((targets - mean) / noise).square().sum(1)
        constant = len(x) * math.log(noise * math.sqrt(2 * math.pi))
        return fit - constant - 0.5 * w.square().sum(1) - 0.5 * w.shape[1] * math.log(2 * math.pi)

    def canonical(w):  # (S, D) numpy: signs first, then the order of outgoing weights
        out, a, b, c = np.split(w, [width, 2 * width, 3 * width], axis=1)
        if activation == "tanh":
            sign = np.where(out < 0, -1.0, 1.0)
            out, a, b = out * sign, a * sign, b * sign
        order = np.argsort(out, axis=1)
        return np.hstack([*(np.take_along_axis(part, order, 1) for part in (out, a, b)), c])

    laws = []
    for net in nets:
        first, last = net[0], net[2]
        parts = (last.weight[0], first.weight[:, 0], first.bias, last.bias)
        w = torch.from_numpy(canonical(torch.cat(parts).detach().numpy()[None]))
        hessian = -torch.autograd.functional.hessian(lambda v: log_joint(v[None])[0], w[0])
        values, vectors = np.linalg.eigh(hessian.numpy())
        # a flat or a rising direction gets the prior's precision
        covariance = (vectors / np.maximum(values, 1.0)) @ vectors.T
        laws.append(stats.multivariate_t(w[0].numpy(), 2.0 * covariance, df=4))
    draws = np.vstack([law.rvs(SAMPLED // len(laws), random_state=rng) for law in laws])
    density = logsumexp([law.logpdf(draws) for law in laws], axis=0) - math.log(len(laws))
    inside = (canonical(draws) == draws).all(1)
    weights = np.where(
        inside, log_joint(torch.from_numpy(draws)).numpy() + log_order - density, -np.inf
    )
    effective = math.exp(2 * logsumexp(weights) - logsumexp(2 * weights))
    return float(logsumexp(weights)) - math.log(len(weights)), effective


def module(width, activation):
    act = torch.nn.Tanh() if activation == "tanh" else torch.nn.ReLU()
    net = torch.nn.Sequential(torch.nn.Linear(1, width), act, torch.nn.Linear(width, 1))
    return net.double()


def variational(x, y, width, activation, noise, seed):
    """Mean-field posterior by plain VI: Adam with cosine decay from small stds."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"fc1.weight": (width, 1), "fc1.bias": (width,), "fc2.weight": (1, width)}
    shapes["fc2.bias"] = (1,)
    loc = torch.randn(3 * width + 1, generator=generator, dtype=torch.float64).requires_grad_()
    log_std = torch.full_like(loc, -3.0, requires_grad=True)
    act = torch.tanh if activation == "tanh" else torch.relu
    x, y = torch.from_numpy(x), torch.from_numpy(y)[:, 0]
    optimiser = torch.optim.Adam([loc, log_std], lr=3e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        eps = torch.randn(DRAWS, len(loc), generator=generator, dtype=torch.float64)
        w = loc + log_std.exp() * eps  # (S, D)
        a, b, out = w[:, None, :width], w[:, None, width : 2 * width], w[:, 2 * width : 3 * width]
        mean = (act(x * a + b) @ out[:, :, None])[..., 0] + w[:, -1:]  # (S, N)
        fit = -0.5 * ((y - mean) / noise).square().sum(1).mean()
        kl = (0.5 * (loc.square() + (2 * log_std).exp() - 1) - log_std).sum()
        optimiser.zero_grad()
        (kl - fit).backward()
        optimiser.step()
        schedule.step()

    def parts(flat):
        sizes = [math.prod(shape) for shape in shapes.values()]
        pieces = np.split(flat.detach().numpy(), np.cumsum(sizes)[:-1])
        return {n: p.reshape(s) for (n, s), p in zip(shapes.items(), pieces, strict=True)}

    return Posterior(parts(loc), parts(log_std.exp()))


def maps(x, y, width, activation, noise, seed):
    """MAP estimates from several starts by L-BFGS, the best first."""
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
    found = []
    for start in range(STARTS):
        torch.manual_seed(1000 * seed + start)
        net = module(width, activation)
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter)
        search = torch.optim.LBFGS(
            net.parameters(), max_iter=2000, tolerance_grad=1e-9, tolerance_change=1e-13,
            line_search_fn="strong_wolfe",
        )  # fmt: skip

        def loss(net=net, search=search):
            search.zero_grad()
            value = 0.5 * ((net(inputs) - targets) / noise).square().sum()
            value = value + 0.5 * sum(p.square().sum() for p in net.parameters())
            value.backward()
            return value

        search.step(loss)
        found.append((float(loss().detach()), net))
    found.sort(key=lambda pair: pair[0])
    return [net for _, net in found]


def laplace(net, x, y, activation, noise):
    """Laplace's evidence with and without I(g; ω), and H, as ``symdiag analyze`` gives them."""
    from laplace import Laplace

    torch.set_default_dtype(torch.float64)  # laplace-torch's own buffers
    points = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    fitted = Laplace(net, "regression", "all", "full", sigma_noise=noise, prior_precision=1.0)
    fitted.fit(torch.utils.data.DataLoader(points, batch_size=len(x)))
    torch.set_default_dtype(torch.float32)
    found = symdiag.analyze(fitted, activation=activation)
    own = float(fitted.log_marginal_likelihood())
    assert abs(own - found.laplace.uncorrected) < 1e-6
    corrected = found.laplace.corrected
    value = found.laplace.uncorrected if corrected is None else corrected.value
    return {
        "laplace": own,
        "laplace_corrected": value,
        "h_laplace": found.total.straddling_entropy.value,
    }


def measure(activation, count, noise, width):
    seed = 7
    started = time.perf_counter()
    x, y = data(count, noise)
    log_z, log_z_error = nested(x, y, width, activation, noise, seed)
    nets = maps(x, y, width, activation, noise, seed)
    log_order = math.lgamma(width + 1) + width * math.log(2) * (activation == "tanh")
    log_z_sampled, effective = sampled(nets, x, y, width, activation, noise, log_order, seed)
    q = variational(x, y, width, activation, noise, seed)
    report = symdiag.analyze(
        q, activation=activation, data=Dataset(x, y), noise=noise, prior_std=1.0, budget=1.0
    )
    elbo, weights = report.elbo, report.elbo.importance
    best = weights.symmetrized or weights.plain
    return {
        "activation": activation, "points": count, "noise": noise, "width": width,
        "weights": 3 * width + 1, "log_order": report.total.log_order,
        "log_z": log_z, "log_z_error": log_z_error,
        "elbo": elbo.standard.value, "elbo_error": elbo.standard.std_error,
        "h": report.total.straddling_entropy.value,
        "symmetrized": elbo.symmetrized.value, "symmetrized_error": elbo.symmetrized.std_error,
        "weighted": best.bound.value, "weighted_lower": best.bound.lower,
        "weighted_error": best.bound.std_error, "k": weights.plain.pareto_k,
        "k_symmetrized": best.pareto_k,
        "log_z_sampled": log_z_sampled, "effective": effective,
        **laplace(nets[0], x, y, activation, noise),
        "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip


def run(seconds):
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    RESULTS.parent.mkdir(exist_ok=True)
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    done = {(r["activation"], r["points"], r["noise"], r["width"]) for r in rows}
    started = time.perf_counter()
    for (activation, count, noise), width in itertools.product(DATA, WIDTHS):
        if (activation, count, noise, width) in done or time.perf_counter() - started > seconds:
            continue
        rows.append(measure(activation, count, noise, width))
        print(rows[-1], flush=True)
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


def log_evidence(row):
    """log Z and its error: nested sampling's, or the importance sample's where that missed a mode.

    Importance sampling can only fail low, so an estimate of its that lies more than three errors above
    nested sampling's shows a mode that no live point fell into.
    """
    error = 1.0 / math.sqrt(row["effective"])
    excess = row["log_z_sampled"] - row["log_z"]
    if excess > 3.0 * math.hypot(error, row["log_z_error"]):
        return row["log_z_sampled"], error
    return row["log_z"], row["log_z_error"]


def violations(row):
    """Names of the inequalities L <= L^G <= weighted <= log Z that fail by more than three errors."""
    log_z, error = log_evidence(row)
    steps = [
        ("elbo", "symmetrized", 0.0, 0.0),
        ("symmetrized", "weighted", "symmetrized_error", "weighted_error"),
    ]
    found = []
    for low, high, first, second in steps:
        slack = 3.0 * math.hypot(row.get(first, 0.0), row.get(second, 0.0))
        if row[low] > row[high] + slack + 1e-9:
            found.append(f"{low} > {high}")
    if row["weighted"] > log_z + 3.0 * math.hypot(error, row["weighted_error"]):
        found.append("weighted > log Z")
    return found


PICKED = ("laplace", "laplace_corrected", "elbo", "symmetrized", "weighted")


def best_widths(rows):
    """Data set -> criterion -> the width with the largest value; log Z's with all within its errors."""
    found = {}
    for row in rows:
        found.setdefault((row["activation"], row["points"], row["noise"]), []).append(row)
    picks = {}
    for key, nets in found.items():
        if len(nets) < 2:
            continue
        z = {r["width"]: log_evidence(r) for r in nets}
        top = max(z, key=lambda w: z[w][0])
        near = sorted(w for w in z if z[top][0] - z[w][0] <= 2 * math.hypot(z[top][1], z[w][1]))
        picks[key] = {name: max(nets, key=lambda r: r[name])["width"] for name in PICKED}
        picks[key] |= {"log_z": top, "near": near}
    return picks


def table(rows):
    """The committed table."""
    lines = [
        "# Bounds and Laplace's evidence beside log Z", "",
        f"{len(rows)} nets of 4 to 13 weights; made by `python -m benchmarks.judge.nested` from",
        "`results/nested.json`, nats. IW: log mean p(D, ω)/q^G(ω) of up to 1000 draws of one mean-field",
        "posterior (1000 steps from one start). k, k^G: Pareto k of p/q and p/q^G. Laplace: full GGN about the best of",
        "four MAP estimates; + I: all equivalent modes. *: nested sampling missed a mode, log Z is that",
        "of importance sampling.", "",
        "| data | width | log Z | L | L^G | IW | k | k^G | Laplace | + I |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for r in rows:
        log_z, error = log_evidence(r)
        star = "*" if log_z != r["log_z"] else ""
        k = ["n/a" if r[name] is None else f"{r[name]:.2f}" for name in ("k", "k_symmetrized")]
        values = [f"{r[n]:.2f}" for n in ("elbo", "symmetrized", "weighted")]
        values += [*k, f"{r['laplace']:.2f}", f"{r['laplace_corrected']:.2f}"]
        data_set = f"{r['activation']}, N {r['points']}, noise {r['noise']}"
        lines.append(
            f"| {data_set} | {r['width']} | {log_z:.2f} ± {error:.2f}{star} | {' | '.join(values)} |"
        )
    failed = [v for r in rows for v in violations(r)]
    z = np.array([log_evidence(r)[0] for r in rows])
    off = {name: np.array([r[name] for r in rows]) - z for name in ("laplace", "laplace_corrected")}
    said = [
        f"{name.replace('_', ', ')}: mean {v.mean():+.2f}, root mean square {np.sqrt((v**2).mean()):.2f}"
        for name, v in off.items()
    ]
    lines += [
        "",
        f"L <= L^G <= IW <= log Z: {len(failed)} of {3 * len(rows)} inequalities fail by more than three errors.",
        "",
    ]
    lines += ["Less log Z: " + "; ".join(said) + ".", ""]
    picks = best_widths(rows)
    lines += [
        "| data | log Z, and as good within 2 errors | Laplace | + I | L | L^G | IW |",
        "|---|---|---|---|---|---|---|",
    ]
    for (activation, count, noise), p in picks.items():
        near = ", ".join(map(str, p["near"]))
        lines.append(
            f"| {activation}, N {count}, noise {noise} | {p['log_z']} ({near}) | "
            + " | ".join(str(p[n]) for n in PICKED)
            + " |"
        )
    counts = ", ".join(
        f"{name} {sum(p[name] in p['near'] for p in picks.values())}" for name in PICKED
    )
    lines += [
        "",
        f"Widths picked that are as good as log Z's best within two errors, of {len(picks)}: {counts}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1] == "run":
        run(float(sys.argv[2]) if len(sys.argv) > 2 else math.inf)
    else:
        TABLE.write_text(table(json.loads(RESULTS.read_text())), "utf-8")
