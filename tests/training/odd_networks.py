"""Bayesian networks as people write them by hand: shared layers, loops, dropped axes, indices."""

import math

import torch
from torch import nn
from torch.nn import functional as F


class Drawn(nn.Module):
    """Means and softplus stds of a weight (of a bias too), drawn at every use."""

    def __init__(self, *shape, bias=True):
        super().__init__()
        spread = 1.0 if len(shape) == 1 else math.sqrt(math.prod(shape[1:]))
        self.weight_mu = nn.Parameter(torch.randn(shape) / spread)
        self.weight_rho = nn.Parameter(torch.full(shape, -1.0))
        if bias:
            self.bias_mu = nn.Parameter(torch.zeros(shape[0]))
            self.bias_rho = nn.Parameter(torch.full(shape[:1], -1.0))

    def draw(self, part):
        mean, rho = getattr(self, f"{part}_mu"), getattr(self, f"{part}_rho")
        return mean + F.softplus(rho) * torch.randn_like(mean)


class Dense(Drawn):
    def forward(self, x):
        return F.linear(x, self.draw("weight"), self.draw("bias"))


class Conv(Drawn):
    def forward(self, x):
        return F.conv2d(x, self.draw("weight"), self.draw("bias"), padding=1)


class Table(Drawn):
    def forward(self, tokens):
        return F.embedding(tokens, self.draw("weight"))


class Residual(nn.Module):
    """Square layers between the units of one stream: a group on both axes of each."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Dense(4, 3), Dense(4, 4), Dense(4, 4)])
        self.out = Dense(1, 4)

    def forward(self, x):
        h = F.relu(self.layers[0](x))
        for layer in self.layers[1:]:
            h = h + F.dropout(F.relu(layer(h)), 0.5, self.training)
        return self.out(h).squeeze(-1)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.read, self.keep, self.out = Dense(3, 2), Dense(3, 3), Dense(1, 3)

    def forward(self, x):
        h = x.new_zeros(len(x), 3)
        for t in range(x.shape[1]):
            h = torch.tanh(self.read(x[:, t]) + self.keep(h))
        return self.out(h)


class Gated(nn.Module):
    """A GRU whose three gates are stacked in one matrix, as nn.GRU has them."""

    def __init__(self):
        super().__init__()
        self.read, self.keep, self.out = Dense(9, 2), Dense(9, 3), Dense(1, 3)

    def forward(self, x):
        h = x.new_zeros(len(x), 3)
        for t in range(x.shape[1]):
            (a, b, c), (r, z, n) = self.read(x[:, t]).chunk(3, 1), self.keep(h).chunk(3, 1)
            update = torch.sigmoid(b + z)
            h = (1.0 - update) * torch.tanh(c + torch.sigmoid(a + r) * n) + update * h
        return self.out(h)


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.norm = Table(9, 4, bias=False), nn.LayerNorm(4)
        self.hidden, self.out = Dense(5, 4), Dense(3, 5)

    def forward(self, tokens):
        return self.out(F.gelu(self.hidden(self.norm(self.table(tokens).mean(1)))))


class Attention(nn.Module):
    """Deterministic attention between Bayesian layers."""

    def __init__(self):
        super().__init__()
        self.inp, self.heads = Dense(4, 3), nn.MultiheadAttention(4, 2, batch_first=True)
        self.hidden, self.back, self.out = Dense(5, 4), Dense(4, 5), Dense(1, 4)

    def forward(self, x):
        h = self.inp(x)
        h = h + self.heads(h, h, h, need_weights=False)[0]
        return self.out((h + self.back(F.relu(self.hidden(h)))).mean(1))


class Images(nn.Module):
    """A residual block of convolutions with BatchNorm, which is left in training mode."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = Conv(3, 1, 3, 3), nn.BatchNorm2d(3)
        self.block, self.out = Conv(3, 3, 3, 3), Dense(3, 3)

    def forward(self, x):
        h = F.relu(self.norm(self.stem(x)))
        return self.out((h + torch.tanh(self.block(h))).mean((2, 3)))


class LastLayer(nn.Module):
    """A plain body, and a Bayesian head."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Sequential(nn.Linear(3, 5), nn.ReLU()), nn.Linear(5, 4))
        self.head = Dense(1, 4)

    def forward(self, x):
        return self.head(torch.tanh(self.body(x)))


def made(kind):
    torch.manual_seed(0)
    return kind()


def residual():
    return made(Residual)


def recurrent():
    return made(Recurrent)


def gated():
    return made(Gated)


def tokens():
    return made(Tokens)


def attention():
    return made(Attention)


def images():
    return made(Images)


def last_layer():
    return made(LastLayer)
