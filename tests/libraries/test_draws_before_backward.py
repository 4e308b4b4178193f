"""Two draws before one backward pass: bayesian-torch and blitz differentiate both with the noise of the second.

Their noise is a buffer that the next forward pass overwrites behind autograd's back, so of K draws the expected gradient of a
std is 1/K, that of a mean is whole. bayesian-torch's KL has a closed form: log stds then balance at K·T, means at T. blitz
samples its KL with the same noise: both sides are divided, and the balance stays.
"""

import pytest
import torch


def bayesian_torch(library):
    layer = library("bayesian_torch.layers").LinearReparameterization(3, 2)
    return lambda x: layer(x)[0], (layer.mu_weight, layer.rho_weight)


def blitz(library):
    layer = library("blitz.modules").BayesianLinear(3, 2)
    return layer, (layer.weight_sampler.mu, layer.weight_sampler.rho)


def torchbnn(library):
    layer = library("torchbnn").BayesLinear(0.0, 1.0, 3, 2)
    return layer, (layer.weight_mu, layer.weight_log_sigma)


def torch_uncertainty(library):
    layer = library("torch_uncertainty.layers.bayesian").BayesLinear(3, 2)
    return layer, (layer.weight_mu, layer.weight_sigma)


SHARED = {bayesian_torch: True, blitz: True, torchbnn: False, torch_uncertainty: False}


@pytest.mark.parametrize("make", SHARED, ids=lambda make: make.__name__)
def test_whose_noise_a_std_is_differentiated_with(library, make):
    forward, (loc, raw) = make(library)
    x = torch.randn(5, 3)

    def gradients(losses):
        return torch.autograd.grad(sum(losses), (loc, raw))

    torch.manual_seed(1)
    apart = [gradients([forward(x).sum()]) for _ in range(2)]
    torch.manual_seed(1)
    together = gradients([forward(x).sum() for _ in range(2)])
    torch.testing.assert_close(together[0], apart[0][0] + apart[1][0])
    # the loss is linear in the weights: the gradient of a std is its noise, up to a factor
    expected = 2 * apart[1][1] if SHARED[make] else apart[0][1] + apart[1][1]
    torch.testing.assert_close(together[1], expected)
