"""A small regression posterior as a bayesian-torch file, and as a problem ready to train."""

import time

import numpy as np
import pytest
import torch

from symdiag import formats
from symdiag.network import forward, infer_network
from symdiag.symmetry.inference import infer_spec
from symdiag.training.config import ModelConfig, TrainingConfig
from symdiag.training.data import Dataset
from symdiag.training.learning_problem import build_problem

WIDTH = 5


def wave(count, seed):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3.0, 3.0, (count, 1))
    return x, np.sin(2.0 * x[:, 0]) + 0.3 * x[:, 0] + 0.3 * rng.standard_normal(count)


def write_checkpoint(path, width=WIDTH, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"fc1": (width, 1), "fc2": (1, width)}
    state = {}
    for layer, shape in shapes.items():
        for part, size in (("weight", shape), ("bias", shape[:1])):
            state[f"{layer}.mu_{part}"] = torch.tensor(
                0.7 * rng.standard_normal(size), dtype=torch.float32
            )
            state[f"{layer}.rho_{part}"] = torch.full(size, -1.0)
    torch.save(state, path)
    return path


@pytest.fixture
def checkpoint(tmp_path):
    return write_checkpoint(tmp_path / "model.pt")


@pytest.fixture
def data_files(tmp_path):
    for name, count, seed in (("train", 40, 0), ("test", 80, 1)):
        x, y = wave(count, seed)
        np.savez(tmp_path / f"{name}.npz", X=x, y=y)
    return tmp_path / "train.npz", tmp_path / "test.npz"


@pytest.fixture
def problem(checkpoint):
    posterior = formats.load(checkpoint)
    network = infer_network(posterior, activation="relu")
    return build_problem(
        posterior,
        infer_spec(posterior, network),
        lambda weights, inputs: forward(network, weights, None, inputs),
        ModelConfig("gaussian", 0.3, 1.0),
        Dataset(*wave(40, 0)),
        Dataset(*wave(80, 1)),
    )


def config(problem, **options):
    defaults = {"steps": 40, "interval": 10, "draws": 4, "patience": 0}
    return TrainingConfig(**{**defaults, **options}).resolved(
        len(problem.train), problem.posterior.num_parameters
    )


def vector(q):
    return torch.cat([q.loc, q.log_scale, q.log_noise[None]]).detach()


def wait_for(path, process, seconds=240):
    """Until a running process has made the file."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
