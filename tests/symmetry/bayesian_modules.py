"""Hand-written Bayesian layers that sample in the ways people write it, and networks of them."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F


class Layer(nn.Module):
    """Means and rhos; what is sampled and how is up to the subclasses."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight_mu = nn.Parameter(torch.randn(outputs, inputs) / inputs**0.5)
        self.weight_rho = nn.Parameter(torch.randn(outputs, inputs) - 3.0)
        self.bias_mu = nn.Parameter(0.1 * torch.randn(outputs))
        self.bias_rho = nn.Parameter(torch.randn(outputs) - 3.0)

    def stds(self):
        return F.softplus(self.weight_rho), F.softplus(self.bias_rho)


class Reparameterised(Layer):
    def forward(self, x):
        weight_std, bias_std = self.stds()
        weight = self.weight_mu + weight_std * torch.randn_like(self.weight_mu)
        return F.linear(x, weight, self.bias_mu + torch.randn(len(bias_std)) * bias_std)


class WithBuffers(Layer):
    """Noise written into buffers in place, as several libraries do."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.register_buffer("eps", torch.randn(outputs, inputs), persistent=False)

    def forward(self, x):
        weight_std, bias_std = self.stds()
        self.eps.data.normal_()
        bias = torch.normal(self.bias_mu, bias_std)
        return x @ (self.weight_mu + weight_std.mul(self.eps)).T + bias


class Distributions(Layer):
    def forward(self, x):
        weight_std, bias_std = self.stds()
        weight, bias = Normal(self.weight_mu, weight_std), Normal(self.bias_mu, bias_std)
        self.kl = kl_divergence(weight, Normal(torch.zeros(()), torch.ones(()))).sum()
        return F.linear(x, weight.rsample(), bias.rsample())


class LocalReparameterised(Layer):
    def forward(self, x):
        weight_std, bias_std = self.stds()
        mean = F.linear(x, self.weight_mu, self.bias_mu)
        variance = F.linear(x**2, weight_std**2, bias_std**2)
        return mean + variance.sqrt() * torch.randn_like(mean)


class Flipout(Layer):
    def forward(self, x):
        weight_std, _ = self.stds()
        delta = weight_std * torch.randn_like(weight_std)
        signs = torch.empty_like(x).uniform_(-1, 1).sign()
        mean = F.linear(x, self.weight_mu, self.bias_mu)
        return mean + F.linear(x * signs, delta) * torch.empty_like(mean).uniform_(-1, 1).sign()


LAYERS = (Reparameterised, WithBuffers, Distributions, LocalReparameterised, Flipout)


class ResidualMLP(nn.Module):
    def __init__(self, layer=Reparameterised):
        super().__init__()
        self.inp, self.b1, self.b2, self.out = (
            layer(10, 12),
            layer(12, 8),
            layer(8, 12),
            layer(12, 1),
        )

    def forward(self, x):
        h = torch.tanh(self.inp(x))
        h = h + self.b2(torch.tanh(self.b1(h)))
        return self.out(h)


class SharedLayer(nn.Module):
    def __init__(self, layer=Reparameterised):
        super().__init__()
        self.inp, self.again, self.out = layer(3, 6), layer(6, 6), layer(6, 1)

    def forward(self, x):
        h = torch.tanh(self.inp(x))
        return self.out(torch.tanh(self.again(torch.tanh(self.again(h)))))


class DenseNet(nn.Module):
    def __init__(self, layer=Reparameterised):
        super().__init__()
        self.first, self.second, self.out = layer(3, 6), layer(9, 5), layer(14, 1)

    def forward(self, x):
        h = torch.cat([x, torch.tanh(self.first(x))], 1)
        return self.out(torch.cat([h, torch.tanh(self.second(h))], 1))


class WithDivergence(nn.Module):
    """Returns outputs and KL, as bayesian-torch's layers do."""

    def __init__(self, layer=Distributions):
        super().__init__()
        self.fc1, self.fc2 = layer(3, 5), layer(5, 2)

    def forward(self, x):
        outputs = self.fc2(torch.tanh(self.fc1(x)))
        kl = sum((m - 0.1).square().sum() for m in (self.fc1.weight_mu, self.fc2.weight_mu))
        return outputs, kl


class FlattenedImage(nn.Module):
    """A convolution by hand, flattened into a layer whose columns are channels times positions."""

    def __init__(self):
        super().__init__()
        self.kernel_mu = nn.Parameter(torch.randn(4, 1, 3, 3))
        self.kernel_rho = nn.Parameter(torch.randn(4, 1, 3, 3) - 3.0)
        self.fc = Reparameterised(4 * 6 * 6, 5)
        self.out = Reparameterised(5, 2)

    def forward(self, x):
        std = F.softplus(self.kernel_rho)
        h = torch.relu(F.conv2d(x, self.kernel_mu + std * torch.randn_like(std)))
        return self.out(torch.relu(self.fc(h.flatten(1))))
