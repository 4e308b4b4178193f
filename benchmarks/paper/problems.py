"""Data sets: the paper's, a noisy wave, and what scikit-learn bundles (nothing is downloaded)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.paper.nets import Task

Array = NDArray[np.float64]


def wave(seeds: list[int], count: int, noises: list[float]) -> Task:
    """y = sin 2x + 0.3 x + noise, x ~ U(−3, 3); posterior p has its own data and noise level."""
    xs, ys = [], []
    for seed, noise in zip(seeds, noises, strict=True):
        rng = np.random.default_rng(seed)
        x = rng.uniform(-3.0, 3.0, (count, 1))
        xs.append(x)
        ys.append(np.sin(2.0 * x[:, 0]) + 0.3 * x[:, 0] + noise * rng.standard_normal(count))
    return Task("gaussian", _single(np.array(xs)), _single(np.array(ys)), torch.tensor(noises))


def bundled(name: str, seeds: list[int]) -> tuple[Task, Task, int]:
    """Training and test task (three quarters to train, split by seed) and the number of outputs."""
    x, y, likelihood, outputs = _load(name)
    cut = round(0.75 * len(x))
    orders = [np.random.default_rng([seed, 3]).permutation(len(x)) for seed in seeds]
    train = _stack(x, y, [o[:cut] for o in orders], likelihood)
    test = _stack(x, y, [o[cut:] for o in orders], likelihood)
    return train, test, outputs


def _load(name: str) -> tuple[Array, Array, str, int]:
    from sklearn import datasets

    if name == "digits":
        data = datasets.load_digits()
        return data.data / 16.0, data.target, "categorical", 10
    data = getattr(datasets, f"load_{name}")()
    x = (data.data - data.data.mean(0)) / data.data.std(0)
    if name == "diabetes":
        return x, (data.target - data.target.mean()) / data.target.std(), "gaussian", 1
    return x, data.target, *(("bernoulli", 1) if name == "breast_cancer" else ("categorical", 3))


def _stack(x: Array, y: Array, orders: list[NDArray[np.intp]], likelihood: str) -> Task:
    inputs = _single(np.array([x[o] for o in orders]))
    targets = np.array([y[o] for o in orders])
    noise = torch.full((len(orders),), 0.7) if likelihood == "gaussian" else None
    return Task(
        likelihood,
        inputs,
        torch.tensor(targets) if likelihood == "categorical" else _single(targets),
        noise,
    )


def _single(array: Array) -> Tensor:
    return torch.tensor(array, dtype=torch.float32)


def mnist(folder: str) -> tuple[Task, Task]:
    """MNIST from its four idx files (``train-images-idx3-ubyte[.gz]`` …) in a folder that the user points to."""
    parts = []
    for split in ("train", "t10k"):
        images = _idx(folder, f"{split}-images-idx3-ubyte").reshape(-1, 784) / 255.0
        parts.append(
            Task(
                "categorical",
                _single(images[None]),
                torch.tensor(_idx(folder, f"{split}-labels-idx1-ubyte")[None]).long(),
            )
        )
    return parts[0], parts[1]


def _idx(folder: str, name: str) -> NDArray[np.uint8]:
    import gzip
    from pathlib import Path

    plain, packed = Path(folder) / name, Path(folder) / f"{name}.gz"
    data = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
    dims = data[3]
    shape = np.frombuffer(data, ">i4", dims, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dims).reshape(shape)
