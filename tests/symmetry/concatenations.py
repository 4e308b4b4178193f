"""Nets that lay sets of units end to end, an input for each, and the groups they have."""

import torch
from torch import nn
from torch.nn import functional as F

ROWS = torch.randn(7, 4).double()
IMAGES = torch.randn(2, 3, 8, 8).double()
SERIES = torch.randn(2, 5, 4).double()


class Net(nn.Module):
    """Layers by name, and a forward written as a function of them."""

    def __init__(self, layers, forward):
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.steps = forward

    def forward(self, x):
        return self.steps(self, x)


def linear(forward, *sizes):
    return Net({name: nn.Linear(a, b) for name, a, b in sizes}, forward)


def dense_block(m, x):
    pieces = [m.stem(x)]
    for norm, conv in ((m.n1, m.c1), (m.n2, m.c2), (m.n3, m.c3)):
        pieces.append(conv(torch.relu(norm(torch.cat(pieces, 1)))))
    return m.out(torch.relu(m.end(torch.cat(pieces, dim=1))).mean((2, 3)))


def dense_layers():
    layers = {
        "stem": nn.Conv2d(3, 6, 3, padding=1),
        "end": nn.BatchNorm2d(18),
        "out": nn.Linear(18, 2),
    }
    for k in (1, 2, 3):
        layers[f"n{k}"] = nn.BatchNorm2d(2 + 4 * k)
        layers[f"c{k}"] = nn.Conv2d(2 + 4 * k, 4, 3, padding=1)
    return layers


def unet(m, x):
    first = torch.relu(m.n1(m.d1(x)))
    second = torch.relu(m.n2(m.d2(F.max_pool2d(first, 2))))
    middle = torch.relu(m.mid(F.max_pool2d(second, 2)))
    up = torch.relu(m.n3(m.e2(torch.cat([m.u2(middle), second], dim=1))))
    up = torch.relu(m.e1(torch.cat([first, F.interpolate(m.u1(up), scale_factor=1.0)], 1)))
    return m.out(up)


def unet_layers():
    def conv(a, b):
        return nn.Conv2d(a, b, 3, padding=1)

    return {
        **{
            "d1": conv(3, 4),
            "n1": nn.BatchNorm2d(4),
            "d2": conv(4, 6),
            "n2": nn.BatchNorm2d(6),
            "mid": conv(6, 8),
        },
        **{"u2": nn.ConvTranspose2d(8, 5, 2, 2), "e2": conv(11, 7), "n3": nn.BatchNorm2d(7)},
        **{"u1": nn.ConvTranspose2d(7, 3, 2, 2), "e1": conv(7, 9), "out": nn.Conv2d(9, 2, 1)},
    }


def towers(m, x, dim=-1):
    return torch.cat([torch.tanh(m.a(x)), torch.tanh(m.b(x))], dim)


BOTH = {"batch_first": True, "bidirectional": True}
TWO = [("a", 4, 6), ("b", 4, 5), ("c", 11, 7)]


def grouped():
    return Net(
        {**CONVS, "n": nn.GroupNorm(2, 10), "c": nn.Conv2d(10, 2, 1)},
        lambda m, x: m.c(m.n(towers(m, x, 1))),
    )


CONVS = {"a": nn.Conv2d(3, 4, 1), "b": nn.Conv2d(3, 6, 1)}


def taken_apart(m, x):
    h = towers(m, x)
    return m.c(torch.cat([h[:, 6:], h[..., :6].relu()], 1)) + h.narrow(1, 0, 6).sum(1, True)


def mean_and_max(m, x):
    h = torch.relu(m.a(x))
    return m.out(torch.cat([h.mean((2, 3)), h.amax((2, 3))], 1))


def loop(m, x):
    h = x
    for layer in (m.a, m.b, m.c):
        h = torch.cat([h, torch.tanh(layer(h))], -1)
    return m.d(h)


def flat_concat(m, x):
    return m.out(torch.cat([torch.relu(m.a(x)), torch.relu(m.b(x))], 1).flatten(1))


def apart(m, x):
    return m.out(torch.cat([torch.relu(m.a(x)).flatten(1), torch.relu(m.b(x)).flatten(1)], 1))


def last_states(m, x):
    _, (h, _) = m.rnn(x)
    return m.out(torch.cat([h[-2], h[-1]], dim=1))


def normed(norm):
    layers = {name: nn.Linear(*sizes) for name, *sizes in TWO}
    return lambda: Net({**layers, "norm": norm}, lambda m, x: m.c(m.norm(towers(m, x))))


CASES = {
    "u-net": (
        lambda: Net(unet_layers(), unet),
        IMAGES,
        {"d1": 4, "d2": 6, "mid": 8, "u2": 5, "e2": 7, "u1": 3, "e1": 9},
    ),
    "densenet": (
        lambda: Net(dense_layers(), dense_block),
        IMAGES,
        {"stem": 6, "c1": 4, "c2": 4, "c3": 4},
    ),
    "raw input": (
        lambda: linear(
            lambda m, x: m.b(torch.cat([x, torch.tanh(m.a(x))], 1)), ("a", 4, 6), ("b", 10, 2)
        ),
        ROWS,
        {"a": 6},
    ),
    "two towers": (lambda: linear(lambda m, x: m.c(towers(m, x)), *TWO), ROWS, {"a": 6, "b": 5}),
    "concat": (
        lambda: linear(lambda m, x: m.c(torch.concat((m.a(x), m.b(x)), axis=1).tanh()), *TWO),
        ROWS,
        {"a": 6, "b": 5},
    ),
    "hstack": (
        lambda: linear(lambda m, x: m.c(torch.hstack([m.a(x), m.b(x)])), *TWO),
        ROWS,
        {"a": 6, "b": 5},
    ),
    "mean and max": (
        lambda: Net({"a": CONVS["a"], "out": nn.Linear(8, 2)}, mean_and_max),
        IMAGES,
        {"a": 4},
    ),
    "flattened": (
        lambda: Net({**CONVS, "out": nn.Linear(640, 2)}, flat_concat),
        IMAGES,
        {"a": 4, "b": 6},
    ),
    "flattened apart": (
        lambda: Net(
            {**CONVS, "out": nn.Linear(640, 2)},
            apart,
        ),
        IMAGES,
        {"a": 4, "b": 6},
    ),
    "flattened over time": (  # a range for every step of the series
        lambda: linear(
            lambda m, x: m.c(towers(m, x).flatten(1)), ("a", 4, 6), ("b", 4, 5), ("c", 55, 2)
        ),
        SERIES,
        {"a": 6, "b": 5},
    ),
    "bidirectional lstm": (
        lambda: Net({"rnn": nn.LSTM(4, 5, 2, **BOTH), "out": nn.Linear(10, 2)}, last_states),
        SERIES,
        {"rnn.l0": 5, "rnn.l0_reverse": 5, "rnn.l1": 5, "rnn.l1_reverse": 5},
    ),
    "bidirectional gru": (
        lambda: Net(
            {"rnn": nn.GRU(4, 5, batch_first=True, bidirectional=True), "out": nn.Linear(10, 2)},
            lambda m, x: m.out(m.rnn(x)[0]),
        ),
        SERIES,
        {"rnn": 5, "rnn.reverse": 5},
    ),
    "along the batch": (
        lambda: linear(
            lambda m, x: m.b(torch.cat([m.a(x), torch.tanh(m.a(x))], 0)), ("a", 4, 6), ("b", 6, 2)
        ),
        ROWS,
        {"a": 6},
    ),
    "along space": (
        lambda: Net(
            {"a": nn.Conv2d(3, 4, 1), "b": nn.Conv2d(3, 4, 1), "c": nn.Conv2d(4, 2, 1)},
            lambda m, x: m.c(torch.cat([m.a(x), m.b(x)], 2)),
        ),
        IMAGES,
        {"a": 4},
    ),
    "layernorm": (normed(nn.LayerNorm(11)), ROWS, {"a": 6, "b": 5}),
    "rmsnorm": (normed(nn.RMSNorm(11)), ROWS, {"a": 6, "b": 5}),
    "batchnorm": (normed(nn.BatchNorm1d(11)), ROWS, {"a": 6, "b": 5}),
    "softmax": (
        lambda: linear(lambda m, x: m.c(F.softmax(towers(m, x), -1)), *TWO),
        ROWS,
        {"a": 6, "b": 5},
    ),
    "groupnorm 1": (normed(nn.GroupNorm(1, 11)), ROWS, {"a": 6, "b": 5}),
    "groupnorm 11": (
        normed(nn.GroupNorm(11, 11)),
        IMAGES[:, 0, 0, :4] + torch.zeros(2, 1).double(),
        {"a": 6, "b": 5},
    ),
    "groupnorm 2": (
        grouped,
        IMAGES,
        {},
    ),
    "in a loop": (
        lambda: linear(loop, ("a", 4, 3), ("b", 7, 5), ("c", 12, 2), ("d", 14, 2)),
        ROWS,
        {"a": 3, "b": 5, "c": 2},
    ),
    "nested": (
        lambda: linear(
            lambda m, x: m.c(
                torch.cat([torch.cat([m.a(x), x], 1).tanh(), torch.cat([x, m.b(x)], 1)], -1)
            ),
            *[("a", 4, 6), ("b", 4, 5), ("c", 19, 2)],
        ),
        ROWS,
        {"a": 6, "b": 5},
    ),
    "with itself": (
        lambda: linear(
            lambda m, x: m.b(torch.cat([h := torch.tanh(m.a(x)), h * 2], 1)),
            ("a", 4, 6),
            ("b", 12, 2),
        ),
        ROWS,
        {"a": 6},
    ),
    "sum of alike": (
        lambda: linear(
            lambda m, x: m.c(torch.cat([m.a(x), m.b(x)], 1) + torch.cat([m.e(x), m.f(x)], 1)),
            *TWO,
            ("e", 4, 6),
            ("f", 4, 5),
        ),
        ROWS,
        {"a": 6, "b": 5},
    ),
    "sum with a whole layer": (
        lambda: linear(lambda m, x: m.c(towers(m, x) + m.e(x)), *TWO, ("e", 4, 11)),
        ROWS,
        {"a": 6, "b": 5},
    ),
    "sum with other ends": (  # cut where the pieces of either side end
        lambda: linear(
            lambda m, x: m.c(torch.cat([m.a(x), m.b(x)], 1) * torch.cat([m.b(x), m.a(x)], 1)), *TWO
        ),
        ROWS,
        None,
    ),
    "sum with the input": (
        lambda: linear(
            lambda m, x: m.c(torch.cat([m.a(x), m.b(x)], 1) + torch.cat([x, m.e(x)], 1)),
            *TWO,
            ("e", 4, 7),
        ),
        ROWS,
        None,
    ),
    "taken apart": (
        lambda: linear(taken_apart, *TWO),
        ROWS,
        {"a": 6, "b": 5},
    ),
    "split": (
        lambda: linear(
            lambda m, x: m.d((parts := torch.split(towers(m, x), [6, 5], -1))[0]) + m.e(parts[1]),
            *[("a", 4, 6), ("b", 4, 5), ("d", 6, 2), ("e", 5, 2)],
        ),
        ROWS,
        {"a": 6, "b": 5},
    ),
    "chunks": (
        lambda: linear(
            lambda m, x: m.c(
                (parts := torch.cat([m.a(x), m.b(x)], 1).chunk(2, 1))[0].tanh() * parts[1]
            ),
            *[("a", 4, 6), ("b", 4, 6), ("c", 6, 2)],
        ),
        ROWS,
        {"a": 6},
    ),
    "glu": (
        lambda: linear(
            lambda m, x: m.c(F.glu(torch.cat([m.a(x), m.b(x)], 1))),
            *[("a", 4, 6), ("b", 4, 6), ("c", 6, 2)],
        ),
        ROWS,
        {"a": 6},
    ),
    "cut inside a piece": (
        lambda: linear(lambda m, x: m.c(towers(m, x)[:, 1:]), *TWO[:2], ("c", 10, 2)),
        ROWS,
        {},
    ),
    "reshaped into rows": (
        lambda: linear(
            lambda m, x: m.c(torch.cat([m.a(x), m.b(x)], 1).view(-1, 2, 6).amax(1)),
            *[("a", 4, 6), ("b", 4, 6), ("c", 6, 2)],
        ),
        ROWS,
        {},
    ),
    "one layer for both orders": (
        lambda: linear(lambda m, x: m.c(towers(m, x)) + m.c(towers(m, x).roll(0, 0)), *TWO),
        ROWS,
        {"a": 6, "b": 5},
    ),
    "as outputs": (lambda: linear(towers, *TWO[:2]), ROWS, {}),
}
