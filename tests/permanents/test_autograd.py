import math

import numpy as np
import pytest
import torch
from permanent_cases import gaussian

from symdiag.permanents import Effort
from symdiag.permanents.autograd import log_permanent_torch
from symdiag.permanents.exact import exact_log_permanent, exact_marginals


@pytest.mark.parametrize("n", [2, 7, 10])
def test_gradient_matches_central_differences_to_1e_8(n):
    rng = np.random.default_rng(n)
    matrix = gaussian(n, 5, 0.7, rng)
    tensor = torch.tensor(matrix[None], requires_grad=True)
    log_permanent_torch(tensor, generator=rng).sum().backward()
    step = 1e-4
    for _ in range(20):
        i, j = rng.integers(0, n, 2)
        values = []
        for shift in (-2 * step, -step, step, 2 * step):  # fourth-order central difference
            moved = matrix.copy()
            moved[i, j] += shift
            values.append(exact_log_permanent(moved[None])[0])
        slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
        assert abs(float(tensor.grad[0, i, j]) - slope) <= 1e-8


def test_batch_weights_and_dtype_are_respected():
    rng = np.random.default_rng(0)
    matrices = np.array([gaussian(6, 5, s, rng) for s in (0.3, 1.0)])
    tensor = torch.tensor(matrices, dtype=torch.float32, requires_grad=True)
    value = log_permanent_torch(tensor, generator=rng)
    assert value.dtype == torch.float32
    (value * torch.tensor([1.0, -2.0])).sum().backward()
    _, expected = exact_marginals(matrices.astype(np.float32).astype(np.float64))
    np.testing.assert_allclose(
        tensor.grad.numpy(), expected * np.array([1, -2])[:, None, None], atol=1e-6
    )


def test_estimated_gradient_is_unbiased_over_weight_draws():
    # chain rule down to a mean: d/dmu of E_w log perm, estimated by swap chains and exactly
    rng = np.random.default_rng(1)
    effort = Effort(max_exact=3, particles=16, runs=1)
    differences = []
    for _ in range(200):
        matrix = gaussian(8, 10, 0.5, rng)
        tensor = torch.tensor(matrix[None], requires_grad=True)
        log_permanent_torch(
            tensor, generator=rng, effort=effort, marginals_method="mcmc"
        ).sum().backward()
        direction = matrix - matrix.mean()
        differences.append(
            float(
                ((tensor.grad[0].numpy() - exact_marginals(matrix[None])[1][0]) * direction).sum()
            )
        )
    differences = np.array(differences)
    assert abs(differences.mean()) <= 4 * differences.std() / math.sqrt(len(differences))


def test_no_gradient_wanted_none_computed():
    value = log_permanent_torch(
        torch.zeros(1, 4, 4, dtype=torch.float64), generator=np.random.default_rng(0)
    )
    assert abs(float(value) - math.log(24)) <= 1e-12
    assert not value.requires_grad
