import math

import numpy as np
import pytest
import torch
from architectures import (
    AttentionBlock,
    ChannelShuffle,
    Concatenated,
    Gated,
    HandWritten,
    HandWrittenAttention,
    Recurrent,
    ResidualMLP,
    ResNet50,
    SmallResNet,
    TiedEmbedding,
    conv_batchnorm,
    outputs_of,
    posterior_of_module,
)
from torch import nn
from torch.nn import functional as F

from symdiag.errors import UnsupportedError
from symdiag.symmetry.elements import act, random_action
from symdiag.symmetry.tracing import trace_spec
from symdiag.symmetry.verification import verify

IMAGES = torch.randn(2, 3, 8, 8, dtype=torch.float64)
GREY = torch.randn(2, 1, 8, 8, dtype=torch.float64)
TOKENS = torch.randint(0, 11, (2, 5), generator=torch.Generator().manual_seed(0))
ROWS = torch.randn(7, 4, dtype=torch.float64)

BOTH_WAYS = {"emb": (6, True), "rnn": (5, False), "rnn.reverse": (5, False)}


def sequential(*modules):
    return lambda: nn.Sequential(*modules)


CASES = {
    "residual mlp": (
        ResidualMLP,
        torch.randn(4, 10).double(),
        {"fc_in": (12, True), "block1_fc1": (8, True)},
    ),
    "resnet": (
        SmallResNet,
        IMAGES,
        {
            "conv1": (8, False),
            "layer1.0.conv1": (8, False),
            "layer1.1.conv1": (8, False),
            "layer2.0.conv1": (12, False),
            "layer2.0.conv2": (12, False),
            "layer2.1.conv1": (12, False),
        },
    ),
    "conv with batchnorm": (conv_batchnorm, GREY, {"0": (6, False), "4": (8, False)}),
    "batchnorm under tanh": (
        sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 2)),
        ROWS,
        {"0": (6, True)},
    ),
    "layernorm": (
        sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 2)),
        ROWS,
        {"0": (6, False)},
    ),
    "rmsnorm": (
        sequential(nn.Linear(4, 6), nn.RMSNorm(6), nn.Tanh(), nn.Linear(6, 2)),
        ROWS,
        {"0": (6, True)},
    ),
    "groupnorm 1": (
        sequential(nn.Linear(4, 6), nn.GroupNorm(1, 6), nn.Tanh(), nn.Linear(6, 2)),
        ROWS,
        {"0": (6, False)},
    ),
    "groupnorm 2": (
        sequential(nn.Linear(4, 6), nn.GroupNorm(2, 6), nn.Tanh(), nn.Linear(6, 2)),
        ROWS,
        {},
    ),
    "groupnorm 6": (
        sequential(nn.Conv2d(3, 6, 1), nn.GroupNorm(6, 6), nn.ReLU(), nn.Conv2d(6, 2, 1)),
        IMAGES,
        {"0": (6, False)},
    ),
    "grouped convolution": (
        sequential(
            nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 3, groups=4), nn.ReLU(), nn.Conv2d(16, 3, 1)
        ),
        IMAGES,
        {},
    ),
    "depthwise convolution": (
        sequential(
            nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 3, groups=8), nn.Tanh(), nn.Conv2d(16, 3, 1)
        ),
        IMAGES,
        {"0": (8, True)},
    ),
    "transposed convolution": (
        sequential(nn.ConvTranspose2d(3, 5, 2), nn.ReLU(), nn.ConvTranspose2d(5, 2, 2)),
        IMAGES,
        {"0": (5, False)},
    ),
    "prelu per channel": (
        sequential(nn.Linear(4, 6), nn.PReLU(6), nn.Linear(6, 2)),
        ROWS,
        {"0": (6, False)},
    ),
    "one unit": (  # nothing to permute; a sign to flip where the activation is odd
        sequential(nn.Linear(4, 1), nn.Tanh(), nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 2)),
        ROWS,
        {"0": (1, True), "2": (3, True)},
    ),
    "one unit, not odd": (
        sequential(nn.Linear(4, 1), nn.ReLU(), nn.Linear(1, 3), nn.ReLU(), nn.Linear(3, 2)),
        ROWS,
        {"2": (3, False)},
    ),
    "hardtanh": (
        sequential(nn.Linear(4, 6), nn.Hardtanh(), nn.Linear(6, 2)),
        ROWS,
        {"0": (6, True)},
    ),
    "relu6": (sequential(nn.Linear(4, 6), nn.ReLU6(), nn.Linear(6, 2)), ROWS, {"0": (6, False)}),
    "glu ties halves": (
        sequential(nn.Linear(4, 6), nn.GLU(), nn.Linear(3, 2)),
        ROWS,
        {"0": (3, False)},
    ),
    "channel shuffle": (ChannelShuffle, IMAGES, {"a": (3, False)}),
    "tied embedding": (TiedEmbedding, TOKENS, {"emb": (8, False)}),
    "attention": (
        AttentionBlock,
        TOKENS,
        {"emb": (8, False), "attn.heads": (4, False), "fc1": (6, False)},
    ),
    "attention by hand": (
        HandWrittenAttention,
        torch.randn(2, 5, 3).double(),
        {"enter": (8, True), "q": (4, False)},
    ),
    "fused attention": (
        lambda: HandWrittenAttention(fused=True),
        torch.randn(2, 5, 3).double(),
        {"enter": (8, True), "q": (4, False)},
    ),
    "encoder layer": (
        sequential(
            nn.Linear(3, 8), nn.TransformerEncoderLayer(8, 2, 6, batch_first=True), nn.Linear(8, 2)
        ),
        torch.randn(2, 5, 3).double(),
        {"0": (8, False), "1.self_attn.heads": (2, False), "1.linear1": (6, False)},
    ),
    "encoder": (
        lambda: nn.Sequential(
            nn.Linear(3, 8),
            nn.TransformerEncoder(
                nn.TransformerEncoderLayer(
                    8, 4, 6, batch_first=True, norm_first=True, activation="gelu"
                ),
                2,
                nn.LayerNorm(8),
                enable_nested_tensor=False,
            ),
            nn.Linear(8, 2),
        ),
        torch.randn(2, 5, 3).double(),
        {
            "0": (8, False),
            "1.layers.0.self_attn.heads": (4, False),
            "1.layers.0.linear1": (6, False),
            "1.layers.1.self_attn.heads": (4, False),
            "1.layers.1.linear1": (6, False),
        },
    ),
    "lstm": (lambda: Recurrent(nn.LSTM), TOKENS, {"emb": (6, True), "rnn": (5, False)}),
    "gru, two layers": (
        lambda: Recurrent(nn.GRU, 2),
        TOKENS,
        {"emb": (6, True), "rnn.l0": (5, False), "rnn.l1": (5, False)},
    ),
    "rnn, last state": (
        lambda: Recurrent(nn.RNN, 2, "state"),
        TOKENS,
        {"emb": (6, True), "rnn.l0": (5, True), "rnn.l1": (5, True)},
    ),
    "lstm, last state": (
        lambda: Recurrent(nn.LSTM, 2, "state"),
        TOKENS,
        {"emb": (6, True), "rnn.l0": (5, False), "rnn.l1": (5, False)},
    ),
    "bidirectional": (
        lambda: Recurrent(nn.LSTM, bidirectional=True),
        TOKENS,
        {"emb": (6, True), "rnn": (5, False), "rnn.reverse": (5, False)},
    ),
    "stored (in, out)": (HandWritten, ROWS, {"W1": (6, True)}),
    "concatenation": (Concatenated, ROWS, {"a": (6, False), "b": (6, False)}),
    "gating": (Gated, ROWS, {"a": (6, False)}),
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_known_architectures(case):
    build, inputs, expected = CASES[case]
    module = build().double().eval()
    spec = trace_spec(module, (inputs,)).spec
    assert {g.name: (g.width, g.signed) for g in spec} == expected
    generator = np.random.default_rng(0)
    posterior = posterior_of_module(module, generator)
    checked = verify(
        spec, posterior, lambda w, b: outputs_of(module, {**w, **b}, inputs), generator
    )
    assert checked.failures == ()
    assert checked.kept.groups == spec.groups


@pytest.mark.parametrize("case", ["conv with batchnorm", "residual mlp", "resnet"])
def test_planted_elements_leave_predictions_unchanged(case):
    """Means, stds and running statistics moved together, in single precision, at the mean and for a weight draw."""
    build, inputs, _ = CASES[case]
    inputs = inputs.float()
    module = build().eval()
    spec = trace_spec(module, (inputs,)).spec
    generator = np.random.default_rng(1)
    posterior = posterior_of_module(module, generator)
    action = random_action(spec, generator)
    assert not any(element.is_identity for element in action.values())
    noise = {name: generator.standard_normal(loc.shape) for name, loc in posterior.loc.items()}
    planted = {
        "loc": act(spec, action, posterior.loc),
        "scale": act(spec, action, posterior.scale, flip=False),
        "buffers": act(spec, action, posterior.buffers),
        "noise": act(spec, action, noise),
    }
    for size in (0.0, 1.0):
        draw = {n: loc + size * posterior.scale[n] * noise[n] for n, loc in posterior.loc.items()}
        moved = {
            n: loc + size * planted["scale"][n] * planted["noise"][n]
            for n, loc in planted["loc"].items()
        }
        before = outputs_of(module, {**draw, **posterior.buffers}, inputs, dtype=torch.float32)
        after = outputs_of(module, {**moved, **planted["buffers"]}, inputs, dtype=torch.float32)
        assert np.abs(after - before).max() <= 1e-5 * np.abs(before).max()
        untouched = outputs_of(module, {**moved, **posterior.buffers}, inputs, dtype=torch.float32)
        if posterior.buffers:  # the statistics must move too
            assert np.abs(untouched - before).max() > 1e-3 * np.abs(before).max()


def test_order_of_resnet50_under_the_git_re_basin_spec():
    """Ainsworth et al. 2022, with residual streams tied: 10^25638.29. Traced without memory on the meta device."""
    with torch.device("meta"):
        module = ResNet50()
        spec = trace_spec(module, (torch.empty(1, 3, 64, 64),)).spec
    assert spec.log_order / math.log(10) == pytest.approx(25638.29, abs=0.005)


def test_refused_symmetries_are_explained():
    cases = {
        "groupnorm 2": "GroupNorm",
        "grouped convolution": "grouped convolution",
    }
    for case, word in cases.items():
        build, inputs, _ = CASES[case]
        trace = trace_spec(build().double(), (inputs,))
        assert any(word in note for note in trace.spec.notes), case
        assert any(word in reason for reason in trace.reasons.values()), case


def test_the_output_layer_and_inputs_are_fixed_without_a_note():
    trace = trace_spec(
        nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), (torch.ones(2, 3),)
    )
    assert trace.spec.notes == ()
    assert trace.reasons == {"2.weight": "2: output units", "2.bias": "2: output units"}


class ByFunctions(nn.Module):
    """Every functional form that carries units, in one net."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(6, 3, 3, 3))
        self.b = nn.Parameter(torch.randn(6))
        self.slope = nn.Parameter(torch.rand(6, 1, 1))
        self.v = nn.Parameter(torch.randn(2, 6))

    def forward(self, x):
        x = F.conv2d(x, self.w, self.b, padding=1)
        x = torch.tanh(x) * self.slope - 0.5 * x
        x = F.avg_pool2d(x, 2).flatten(2).mean(2, keepdim=True).squeeze(-1)
        x = x.unsqueeze(0).expand(3, -1, -1)[1]
        return F.linear(x, self.v)


def test_functional_layers():
    module = ByFunctions().double()
    spec = trace_spec(module, (IMAGES,)).spec
    (group,) = spec.groups
    assert group.width == 6
    assert {(m.tensor, m.axis) for m in group.members} == {
        ("w", 0),
        ("b", 0),
        ("slope", 0),
        ("v", 1),
    }
    generator = np.random.default_rng(2)
    posterior = posterior_of_module(module, generator)
    assert (
        verify(spec, posterior, lambda w, b: outputs_of(module, w, IMAGES), generator).failures
        == ()
    )


class Applied(nn.Module):
    """A hidden layer whose units go through ``function``."""

    def __init__(self, function):
        super().__init__()
        self.a, self.c, self.function = nn.Linear(4, 6), nn.LazyLinear(2), function

    def forward(self, x):
        return self.c(self.function(self.a(x)))


@pytest.mark.parametrize(
    ("function", "width", "signed"),
    [
        (torch.sin, 6, True),
        (lambda x: -x.tanh(), 6, True),
        (lambda x: x + 1.0, 6, False),
        (lambda x: 1.0 / x, 6, False),
        (lambda x: x / 2.0, 6, True),
        (lambda x: x**2, 6, False),
        (lambda x: x - x.mean(-1, keepdim=True), 6, False),
        (lambda x: F.softmax(x, dim=-1), 6, False),
        (lambda x: x.max(-1, keepdim=True)[0] + x, 6, False),
        (lambda x: x[:, :3], 3, True),  # unit i and unit i + 3 move together
        (lambda x: x[:, :4], None, None),
        (lambda x: x[:, 1:4], None, None),
        (lambda x: x[..., None].squeeze(-1), 6, True),
        (lambda x: x.cumsum(-1), None, None),
        (lambda x: torch.cat([x, x], 0), 6, True),
        (lambda x: x.view(-1, 2, 3).transpose(1, 2).reshape(-1, 6), 2, True),
        (lambda x: x.view(-1, 2, 3).permute(0, 2, 1).reshape(-1, 6), 2, True),
        (lambda x: torch.maximum(x, x.roll(1, -1)), None, None),
        (lambda x: x.t().t(), 6, True),
        (lambda x: F.pad(x, (1, 1)), None, None),
        (lambda x: x + torch.arange(6.0).double(), None, None),
        (lambda x: x.chunk(2, -1)[0], 3, True),
        (lambda x: x.chunk(4, -1)[0], 2, True),
        (lambda x: x.chunk(5, -1)[0], 2, True),
        (lambda x: x.split([2, 4], -1)[1], None, None),
        (lambda x: x.view(-1, 3, 2).unbind(1)[0], 2, True),
        (lambda x: F.glu(x), 3, False),
        (lambda x: x.flip(0), 6, True),
        (lambda x: x[..., None].flip(0, 2).squeeze(-1), 6, True),
        (lambda x: torch.flip(x, [1]), None, None),
        (lambda x: torch.flip(x, dims=(0,)), 6, True),
        (lambda x: torch.roll(x, 1), None, None),
        (lambda x: torch.roll(x, 1, 0), 6, True),
        (lambda x: x.cumsum(0), 6, True),
        (lambda x: torch.cumsum(x, dim=-1), None, None),
        (lambda x: torch.stack([x, x.relu()], 1).sum(1), 6, False),
        (lambda x: torch.stack([x, x.sin()], -1).select(-1, 1), 6, True),
        (lambda x: x.select(1, 2)[:, None], None, None),
        (lambda x: x.unsqueeze(1).repeat(1, 3, 1).mean(1), 6, True),
        (lambda x: x.repeat(1, 2), None, None),
        (lambda x: x[:, None].expand(-1, 3, -1).sum(1), 6, True),
        (lambda x: x.sin().view_as(x), 6, True),
        (lambda x: x - torch.logsumexp(x, -1, keepdim=True), 6, False),
        (lambda x: torch.where(x > 0, x, x.tanh()), 6, False),
        (lambda x: x.view(-1, 2, 3).amax(1), 2, False),
        (lambda x: torch.einsum("bi,bj->bij", x, x).flatten(1), None, None),
        (lambda x: torch.einsum("bi,bi->bi", x, x), 6, False),
    ],
)
def test_rules_for_functions_are_sound(function, width, signed):
    module = Applied(function).double()
    with torch.no_grad():
        module(ROWS)
    spec = trace_spec(module, (ROWS,)).spec
    assert [(g.width, g.signed) for g in spec] == ([] if width is None else [(width, signed)])
    generator = np.random.default_rng(3)
    posterior = posterior_of_module(module, generator)
    assert (
        verify(spec, posterior, lambda w, b: outputs_of(module, w, ROWS), generator).failures == ()
    )


def test_modules_that_cannot_be_traced_are_refused():
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(UnsupportedError) as caught:
        trace_spec(Branching(), (ROWS,))
    assert caught.value.code == "untraceable"
    with pytest.raises(UnsupportedError):
        trace_spec(nn.Linear(3, 2).double(), (ROWS,))
