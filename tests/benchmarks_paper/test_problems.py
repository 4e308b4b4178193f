"""Data the user points to: MNIST's idx files."""

import gzip

import numpy as np
import torch

from benchmarks.paper.problems import mnist, wave


def _write(path, array, *, packed):
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">i4").tobytes()
    data = head + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if packed else data)


def test_mnist_files_plain_and_packed(tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (5, 28, 28)), rng.integers(0, 10, 5)
    _write(tmp_path / "train-images-idx3-ubyte", images, packed=False)
    _write(tmp_path / "train-labels-idx1-ubyte", labels, packed=False)
    _write(tmp_path / "t10k-images-idx3-ubyte.gz", images[:2], packed=True)
    _write(tmp_path / "t10k-labels-idx1-ubyte.gz", labels[:2], packed=True)
    train, test = mnist(str(tmp_path))
    assert train.x.shape == (1, 5, 784)
    np.testing.assert_allclose(train.x[0].numpy(), images.reshape(5, -1) / 255.0, atol=1e-7)
    assert train.y[0].tolist() == labels.tolist()
    assert train.y.dtype == torch.long
    assert test.x.shape == (1, 2, 784)


def test_wave_noise_level():
    task = wave([0, 0], 4000, [0.1, 0.5])
    x = task.x[:, :, 0]
    residual = task.y - torch.sin(2 * x) - 0.3 * x
    np.testing.assert_allclose(residual.std(1).numpy(), [0.1, 0.5], rtol=0.05)
