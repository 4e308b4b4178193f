"""Which share of the gap in prediction from mean-field to the true posterior does the objective close?

``python -m benchmarks.wide.reference TASK WIDTH ACTIVATION SEED ...``: NUTS (NumPyro, four chains) on the same network, prior, noise and
data as the study's cell, and the test scores of its draws, to stand beside those of the routes in ``results.jsonl``. R̂ is that of the
network's outputs at the test inputs and of the weights' norm, which relabelling units leaves alone; over weights it would
count chains that sit in different labellings as unmixed.
"""

import json
import math
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.wide.study import NOISE_VARIANCE, Cell

RESULTS = Path(__file__).parent / "reference.jsonl"
CHAINS, WARM_UP, DRAWS, OUTPUTS = 4, 300, 300, 50


def network(flat, x, width, activation):
    """Outputs (N,) of one vector of weights: in, bias, out, bias."""
    inputs = x.shape[1]
    w1, b1, w2, b2 = jnp.split(flat, np.cumsum([width * inputs, width, width]), axis=-1)
    act = {"tanh": jnp.tanh, "relu": jax.nn.relu}[activation]
    h = act(x @ w1.reshape(width, inputs).T + b1)
    return h @ w2 / math.sqrt(width) + b2[0]


def chains(cell, train):
    """Draws (chain, draw, D) of the posterior."""
    from numpyro.infer import MCMC, NUTS

    x, y = jnp.asarray(train.inputs), jnp.asarray(train.targets)
    size = cell.width * (train.inputs.shape[1] + 2) + 1

    def energy(flat):
        rest = network(flat, x, cell.width, cell.activation) - y
        return 0.5 * (rest**2).sum() / NOISE_VARIANCE + 0.5 * (flat**2).sum()

    start = np.random.default_rng([cell.seed, cell.width]).standard_normal((CHAINS, size))
    mcmc = MCMC(
        NUTS(potential_fn=energy, max_tree_depth=8),
        num_warmup=WARM_UP,
        num_samples=DRAWS,
        num_chains=CHAINS,
        chain_method="sequential",
        progress_bar=False,
    )
    mcmc.run(jax.random.PRNGKey(cell.seed), init_params=jnp.asarray(start))
    return mcmc.get_samples(group_by_chain=True)


def split_rhat(values):
    """Split R̂ of (chain, draw, ...), the largest."""
    half = values.shape[1] // 2
    parts = np.concatenate([values[:, :half], values[:, half : 2 * half]])
    within = parts.var(1, ddof=1).mean(0)
    between = half * parts.mean(1).var(0, ddof=1)
    return float(np.sqrt((half - 1) / half + between / within / half).max())


def reference(cell):
    """One line of results."""
    began = time.process_time()
    train, test = cell.data()
    draws = chains(cell, train)
    run = jax.vmap(
        lambda flat: network(flat, jnp.asarray(test.inputs), cell.width, cell.activation)
    )
    f = np.array(jnp.stack([run(chain) for chain in draws]))
    log_density = -0.5 * (f - test.targets) ** 2 / NOISE_VARIANCE
    log_density -= 0.5 * math.log(2 * math.pi * NOISE_VARIANCE)

    def nll(log_density):
        return float(np.log(len(log_density)) - np.logaddexp.reduce(log_density, 0).mean())

    flat = log_density.reshape(-1, len(test))
    mean = f.reshape(-1, len(test)).mean(0)
    return vars(cell) | {
        "nll": nll(flat),
        "nll_by_chain": [nll(chain) for chain in log_density],
        "rmse": float(np.sqrt(((mean - test.targets) ** 2).mean())),
        "spread": float(f.reshape(-1, len(test)).std(0).mean()),
        "rhat_outputs": split_rhat(f[:, :, :OUTPUTS]),
        "rhat_norm": split_rhat((np.array(draws) ** 2).sum(-1)),
        "seconds": time.process_time() - began,
    }


def main(arguments):
    """One reference for each four arguments."""
    jax.config.update("jax_enable_x64", True)
    for task, width, activation, seed in zip(*[iter(arguments)] * 4, strict=True):
        row = reference(Cell(task, activation, int(width), int(seed)))
        print(json.dumps(row), flush=True)
        with RESULTS.open("a") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
