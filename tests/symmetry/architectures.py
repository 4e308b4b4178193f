"""Torch modules whose symmetry groups are known, for tracing and verification."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from symdiag.posterior import Posterior


def posterior_of_module(module, generator, *, names=None):
    """Random means and stds for the module's parameters, random positive running statistics."""
    named = {name: tuple(p.shape) for name, p in module.named_parameters(remove_duplicate=False)}
    loc = {name: generator.standard_normal(shape) for name, shape in named.items()}
    first = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        loc[name] = loc[first.setdefault(id(parameter), name)]
    scale = {name: generator.uniform(0.1, 0.5, value.shape) for name, value in loc.items()}
    buffers = {
        name: generator.uniform(0.5, 1.5, tuple(b.shape))
        for name, b in module.named_buffers()
        if b.is_floating_point()
    }
    return Posterior(loc, scale, buffers)


def outputs_of(module, arrays, *inputs, dtype=torch.float64):
    """The module's outputs with named arrays in place of its tensors."""
    tensors = {
        name: torch.from_numpy(np.ascontiguousarray(value)).to(dtype)
        for name, value in arrays.items()
    }
    with torch.no_grad():
        result = torch.func.functional_call(
            module.eval().to(dtype), tensors, inputs, tie_weights=False
        )
    return (result[0] if isinstance(result, tuple) else result).numpy()


class ResidualMLP(nn.Module):
    """h = tanh(fc_in x); h = h + block1_fc2(tanh(block1_fc1 h)); fc_out h: 12! x 8!, the stream tied."""

    def __init__(self):
        super().__init__()
        self.fc_in, self.block1_fc1 = nn.Linear(10, 12), nn.Linear(12, 8)
        self.block1_fc2, self.fc_out = nn.Linear(8, 12), nn.Linear(12, 1)

    def forward(self, x):
        hidden = torch.tanh(self.fc_in(x))
        return self.fc_out(hidden + self.block1_fc2(torch.tanh(self.block1_fc1(hidden))))


class BasicBlock(nn.Module):
    def __init__(self, units_in, units_out, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(units_in, units_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(units_out)
        self.conv2 = nn.Conv2d(units_out, units_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(units_out)
        self.downsample = None
        if stride > 1 or units_in != units_out:
            down = nn.Conv2d(units_in, units_out, 1, stride, bias=False)
            self.downsample = nn.Sequential(down, nn.BatchNorm2d(units_out))

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class SmallResNet(nn.Module):
    """Streams of 8 and 12 channels, four inner widths: 8!^3 · 12!^3."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(BasicBlock(8, 8), BasicBlock(8, 8))
        self.layer2 = nn.Sequential(BasicBlock(8, 12, 2), BasicBlock(12, 12))
        self.fc = nn.Linear(12, 5)

    def forward(self, x):
        x = self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x)))))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class Bottleneck(nn.Module):
    def __init__(self, units_in, width, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(units_in, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = (
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample = None
        if stride > 1 or units_in != 4 * width:
            down = nn.Conv2d(units_in, 4 * width, 1, stride, bias=False)
            self.downsample = nn.Sequential(down, nn.BatchNorm2d(4 * width))

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(out)))))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class ResNet50(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        units, stages = 64, []
        for width, depth, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            blocks = []
            for index in range(depth):
                blocks.append(Bottleneck(units, width, stride if index == 0 else 1))
                units = 4 * width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(2048, 1000)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.fc(self.stages(x).mean((2, 3)))


def conv_batchnorm():
    """Two convolutions (6 and 8 channels), BatchNorm, flatten to blocks of 4 columns."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


class ChannelShuffle(nn.Module):
    """Units of the middle are dealt out over three groups: only whole columns of the deal can move."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 12, 1), nn.Conv2d(12, 4, 1)

    def forward(self, x):
        x = F.relu(self.a(x))
        n, c, h, w = x.size()
        return self.b(x.view(n, 3, c // 3, h, w).transpose(1, 2).contiguous().view(n, c, h, w))


class TiedEmbedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb, self.pos = nn.Embedding(11, 8), nn.Parameter(torch.randn(1, 5, 8))
        self.fc, self.dec = nn.Linear(8, 8), nn.Linear(8, 11, bias=False)
        self.dec.weight = self.emb.weight

    def forward(self, x):
        return self.dec(torch.relu(self.fc(self.emb(x) + self.pos)))


class AttentionBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb, self.attn = nn.Embedding(11, 8), nn.MultiheadAttention(8, 4, batch_first=True)
        self.ln, self.fc1, self.fc2, self.out = (
            nn.LayerNorm(8),
            nn.Linear(8, 6),
            nn.Linear(6, 8),
            nn.Linear(8, 3),
        )

    def forward(self, x):
        x = self.emb(x)
        x = self.ln(x + self.attn(x, x, x)[0])
        return self.out((x + self.fc2(F.gelu(self.fc1(x)))).mean(1))


class TokenAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(11, 4)
        self.query, self.key, self.value = (nn.Linear(4, 4, bias=False) for _ in range(3))

    def forward(self, tokens):
        x = self.emb(tokens)
        scores = self.query(x) @ self.key(x).transpose(-2, -1)
        return (F.softmax(scores, dim=-1) @ self.value(x)).mean(1)


class HandWrittenAttention(nn.Module):
    def __init__(self, fused=False):
        super().__init__()
        self.fused = fused
        self.enter, self.out = nn.Linear(3, 8), nn.Linear(8, 3)
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x):
        x = self.enter(x)
        batch, length, width = x.shape
        q, k, v = (
            layer(x).view(batch, length, 4, 2).transpose(1, 2) for layer in (self.q, self.k, self.v)
        )
        if self.fused:
            heads = F.scaled_dot_product_attention(q, k, v)
        else:
            heads = F.softmax(q @ k.transpose(-2, -1) / math.sqrt(2), dim=-1) @ v
        return self.out(x + self.o(heads.transpose(1, 2).reshape(batch, length, width)))


class Recurrent(nn.Module):
    def __init__(self, kind, layers=1, last="outputs", bidirectional=False):
        super().__init__()
        self.emb = nn.Embedding(11, 6)
        self.rnn = kind(6, 5, layers, batch_first=True, bidirectional=bidirectional)
        self.fc = nn.Linear(10 if bidirectional else 5, 3)
        self.last = last

    def forward(self, x):
        outputs, state = self.rnn(self.emb(x))
        if self.last == "outputs":
            return self.fc(outputs[:, -1])
        return self.fc((state[0] if isinstance(self.rnn, nn.LSTM) else state)[-1])


class HandWritten(nn.Module):
    """x @ W + b with weights stored (in, out)."""

    def __init__(self):
        super().__init__()
        self.W1, self.b1 = nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.randn(1, 6))
        self.W2, self.b2 = nn.Parameter(torch.randn(6, 2)), nn.Parameter(torch.randn(2))

    def forward(self, x):
        return torch.tanh(x @ self.W1 + self.b1) @ self.W2 + self.b2


class Concatenated(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(12, 2)

    def forward(self, x):
        return self.c(torch.cat([torch.relu(self.a(x)), torch.relu(self.b(x))], -1))


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.c(torch.tanh(self.a(x)) * self.b(x))
