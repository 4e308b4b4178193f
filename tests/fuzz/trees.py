"""Small trees in the keys of the libraries symdiag reads, and random ways to rearrange them."""

from collections.abc import Iterator
from typing import Any

import numpy as np

Rng = np.random.Generator
SHAPES = {"fc1.weight": (3, 2), "fc1.bias": (3,), "fc2.weight": (1, 3), "fc2.bias": (1,)}
SOFTPLUS = {"__class__": "pyro.distributions.constraints._SoftplusPositive", "lower_bound": 0.0}
POSITIVE = {"__class__": "torch.distributions.constraints._GreaterThan", "lower_bound": 0.0}
REAL = {"__class__": "torch.distributions.constraints._Real"}


def library_trees() -> dict[str, Any]:
    """Name → a tree that reads as a posterior."""
    rng = np.random.default_rng(0)
    loc = {name: rng.normal(size=shape).astype("f4") for name, shape in SHAPES.items()}
    low = {name: rng.normal(-3, 0.1, shape).astype("f4") for name, shape in SHAPES.items()}
    split = {name: name.rsplit(".", 1) for name in SHAPES}

    def named(loc_key: str, scale_key: str) -> dict[str, Any]:
        found = {}
        for name, (layer, part) in split.items():
            found[loc_key.format(layer=layer, part=part)] = loc[name]
            found[scale_key.format(layer=layer, part=part)] = low[name]
        return found

    sampled = {
        f"{layer}.{part}_sampler.{end}": values[f"{layer}.{part}"]
        for layer, part in split.values()
        for end, values in (("mu", loc), ("rho", low))
    }
    mixture = {
        f"{layer}.{part}_prior_dist.{end}": np.array(values, "f4")
        for layer, part in split.values()
        for end, values in (("pi", [1, 0]), ("mus", [0, 0]), ("sigmas", [1, 0.1]))
    }
    flat = np.concatenate([np.abs(values).ravel() for values in loc.values()])
    group = {"hess": flat, "ess": 100.0, "weight_decay": 1e-2, "params": [0, 1, 2, 3]}
    unconstrained = {
        f"{kind}.{name}_unconstrained": v
        for kind, t in (("locs", loc), ("scales", low))
        for name, v in t.items()
    }
    return {
        "bayesian-torch": {"state_dict": named("module.{layer}.mu_{part}", "module.{layer}.rho_{part}"), "epoch": 3},
        "blitz": named("{layer}.{part}_mu", "{layer}.{part}_rho") | sampled,
        "torchbnn": named("{layer}.{part}_mu", "{layer}.{part}_log_sigma"),
        "torch-uncertainty": named("{layer}.{part}_mu", "{layer}.{part}_sigma") | sampled | mixture,
        "torch-blue": named("{layer}._{part}_mean", "{layer}._{part}_log_std"),
        "torchbayesian": named(
            "module.{layer}.reparametrizations.{part}.variational_posterior.mu",
            "module.{layer}.reparametrizations.{part}.variational_posterior.rho",
        ),
        "ivon": {"model_state_dict": loc, "optimizer_state_dict": {"state": {}, "param_groups": [group]}},
        "posteriors": {"params": loc, "log_sd_diag": low},
        "pyro-guide": unconstrained,
        "pyro-store": {
            "params": {f"AutoNormal.{k}s.{n}": v for k, t in (("loc", loc), ("scale", low)) for n, v in t.items()},
            "constraints": {f"AutoNormal.{k}s.{n}": c for k, c in (("loc", REAL), ("scale", SOFTPLUS)) for n in loc},
        },
        "tyxe": {
            "params": {f"net_guide.net.{n}.{k}": v for k, t in (("loc", loc), ("scale", low)) for n, v in t.items()},
            "constraints": {f"net_guide.net.{n}.{k}": c for k, c in (("loc", REAL), ("scale", POSITIVE)) for n in loc},
        },
        "numpyro": {f"{n}_auto_{k}": np.abs(v) for k, t in (("loc", loc), ("scale", low)) for n, v in t.items()},
        "laplace": {
            "mean": flat, "H": flat, "prior_mean": 0.0, "prior_precision": np.ones(1, "f4"), "sigma_noise": 1.0,
            "temperature": 1.0, "n_data": 9, "loss": 0.1, "likelihood": "regression", "cls_name": "DiagLaplace",
        },
    }  # fmt: skip


def junk() -> list[Any]:
    """Values that no library keeps where weights belong."""
    odd = {"__class__": "torch.distributions.constraints._Interval", "lower_bound": 0.0}
    plain: list[Any] = [
        None,
        1,
        -1.0,
        float("nan"),
        True,
        "softplus",
        "",
        [],
        {},
        (),
        {"a": 1},
        [1, 2],
        10**30,
    ]
    return [*plain, REAL, odd, np.zeros(0), np.ones((2, 2, 2, 2, 2), "f4"), np.ones((0, 3))]


def rearranged(tree: Any, rng: Rng) -> Any:
    """``tree`` with one to three entries removed, replaced, reshaped or renamed."""
    for _ in range(rng.integers(1, 4)):
        places = list(_paths(tree))
        path = places[rng.integers(len(places))]
        node = _at(tree, path)
        action = rng.integers(4)
        if action == 0 and path:
            tree = _put(tree, path, None, remove=True)
        elif action == 1:
            options = junk()
            tree = _put(tree, path, options[rng.integers(len(options))])
        elif isinstance(node, np.ndarray):
            tree = _put(tree, path, _other_array(node, rng))
        elif isinstance(node, dict) and node:
            tree = _put(tree, path, _renamed(node, rng))
    return tree


def _paths(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, (list, tuple))
        else ()
    )
    for key, value in items:
        yield from _paths(value, (*path, key))


def _at(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def _put(tree: Any, path: tuple[Any, ...], value: Any, *, remove: bool = False) -> Any:
    if not path:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    if len(path) == 1 and remove:
        copy.pop(path[0])
    else:
        copy[path[0]] = _put(tree[path[0]], path[1:], value, remove=remove)
    return tuple(copy) if isinstance(tree, tuple) else copy


def _renamed(node: dict[Any, Any], rng: Rng) -> dict[Any, Any]:
    key = list(node)[rng.integers(len(node))]
    new = (3, f"x.{key}", str(key)[:-1], "", f"{key}.weight_mu", "a.b.c", "a\nb\x1b[31m")[
        rng.integers(7)
    ]
    copy = dict(node)
    copy[new] = copy.pop(key)
    return copy


def _other_array(array: np.ndarray, rng: Rng) -> np.ndarray:
    options = (
        lambda a: a[..., :-1] if a.ndim else a,
        lambda a: a.T,
        lambda a: a.reshape(-1),
        lambda a: a[None],
        lambda a: a.astype(np.int64),
        lambda a: a > 0,
        lambda a: a * np.float32(np.nan),
        lambda a: a * np.float32(1e30),
        lambda a: -np.abs(a.astype("f4")) - 1,
        lambda a: np.float32(1.5).reshape(()),
        lambda a: np.concatenate([a, a]) if a.ndim else a,
        lambda a: a * 0,
        lambda a: np.zeros((0, *a.shape[1:]), a.dtype),
    )
    with np.errstate(all="ignore"):
        return np.asarray(options[rng.integers(len(options))](array))
