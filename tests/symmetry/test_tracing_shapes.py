"""Modules whose forward asks for shapes, cuts axes into pieces or multiplies by hand, as attention code does."""

import math

import numpy as np
import pytest
import torch
from architectures import outputs_of, posterior_of_module
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from symdiag.errors import UnsupportedError
from symdiag.symmetry.tracing import trace_spec
from symdiag.symmetry.verification import verify

TOKENS = torch.arange(10).reshape(2, 5)
ROWS = torch.randn(7, 4, dtype=torch.float64)
PATCHES = torch.randn(2, 3, 8, 6, dtype=torch.float64)


class CausalBlock(nn.Module):
    """A transformer block as small language models write it: sizes unpacked, q, k and v split off one projection."""

    def __init__(self):
        super().__init__()
        self.wte, self.wpe, self.head = (
            nn.Embedding(11, 8),
            nn.Embedding(6, 8),
            nn.Linear(8, 11, bias=False),
        )
        self.qkv, self.proj, self.fc1, self.fc2 = (
            nn.Linear(8, 24),
            nn.Linear(8, 8),
            nn.Linear(8, 6),
            nn.Linear(6, 8),
        )
        self.ln1, self.ln2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.register_buffer("mask", torch.tril(torch.ones(6, 6)).view(1, 1, 6, 6))

    def forward(self, tokens, targets=None):
        batch, length = tokens.size()
        assert length <= 6
        x = self.wte(tokens) + self.wpe(torch.arange(length))
        q, k, v = self.qkv(self.ln1(x)).split(8, dim=2)
        q, k, v = (part.view(batch, length, 4, 2).transpose(1, 2) for part in (q, k, v))
        weights = (q @ k.transpose(-2, -1)) / math.sqrt(k.size(-1))
        weights = F.softmax(
            weights.masked_fill(self.mask[:, :, :length, :length] == 0, float("-inf")), dim=-1
        )
        x = x + self.proj((weights @ v).transpose(1, 2).contiguous().view(batch, length, 8))
        x = x + self.fc2(F.gelu(self.fc1(self.ln2(x))))
        return (
            self.head(x)
            if targets is None
            else F.cross_entropy(self.head(x).flatten(0, 1), targets.flatten())
        )


class VisionBlock(nn.Module):
    """q, k and v as one reshape of a stacked projection, taken apart by indexing or by unbind."""

    def __init__(self, by_index):
        super().__init__()
        self.by_index = by_index
        self.patches, self.qkv, self.proj = nn.Conv2d(3, 8, 2, 2), nn.Linear(8, 24), nn.Linear(8, 8)
        self.cls, self.out = nn.Parameter(torch.randn(1, 1, 8)), nn.Linear(8, 3)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        batch, length, width = x.shape
        stacked = (
            self.qkv(x + self.cls).reshape(batch, length, 3, 4, width // 4).permute(2, 0, 3, 1, 4)
        )
        q, k, v = (stacked[0], stacked[1], stacked[2]) if self.by_index else stacked.unbind(0)
        heads = F.scaled_dot_product_attention(q, k, v)
        return self.out(
            (x + self.proj(heads.transpose(1, 2).reshape(batch, length, width))).mean(1)
        )


class Products(nn.Module):
    """One hidden layer by torch.mm, torch.addmm, torch.bmm or torch.einsum."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.w, self.b, self.v = (
            nn.Parameter(torch.randn(*size)) for size in ((4, 6), (6,), (6, 2))
        )

    def forward(self, x):
        if self.kind == "mm":
            return torch.mm(torch.mm(x, self.w).add_(self.b).tanh_(), self.v)
        if self.kind == "addmm":
            return torch.addmm(self.b, x, self.w).tanh() @ self.v
        if self.kind == "bmm":
            return torch.bmm(torch.baddbmm(self.b, x[None], self.w[None]).tanh(), self.v[None])
        return torch.einsum(
            "nh, ho -> no", torch.tanh(torch.einsum("ni,ih->nh", x, self.w) + self.b), self.v
        )


class Gated(nn.Module):
    """A gated linear unit whose halves come from chunk or from slices, if the input has the rank for it."""

    def __init__(self, by_slices):
        super().__init__()
        self.by_slices = by_slices
        self.a, self.c = nn.Linear(4, 12), nn.Linear(6, 2)

    def forward(self, x, *, scale=2.0):
        if x.dim() == 2 and x.shape[-1] < 5:
            hidden = self.a(x) * scale
        half = hidden.shape[1] // 2
        value, gate = (
            (hidden[:, :half], hidden[:, half:]) if self.by_slices else hidden.chunk(2, dim=-1)
        )
        return self.c(value * torch.sigmoid(gate))


class Parameters(nn.Module):
    """Two hidden layers whose weights are parameters of one and the same submodule."""

    def __init__(self):
        super().__init__()
        self.net = nn.ParameterDict(
            {"a": torch.randn(4, 6), "b": torch.randn(6, 5), "c": torch.randn(5, 2)}
        )

    def forward(self, x):
        return torch.tanh(torch.tanh(x @ self.net["a"]) @ self.net["b"]) @ self.net["c"]


class Translator(nn.Module):
    """An encoder layer and a decoder layer that attends to it."""

    def __init__(self):
        super().__init__()
        self.emb, self.out = nn.Embedding(11, 8), nn.Linear(8, 2)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 6, batch_first=True)
        layer = nn.TransformerDecoderLayer(8, 4, 5, batch_first=True, norm_first=True)
        self.decoder = nn.TransformerDecoder(layer, 1, nn.LayerNorm(8))

    def forward(self, tokens):
        memory = self.encoder(self.emb(tokens))
        mask = torch.triu(torch.full((5, 5), float("-inf"), dtype=memory.dtype), diagonal=1)
        return self.out(self.decoder(self.emb(tokens.flip(1)), memory, tgt_mask=mask))


class Pairs(nn.Module):
    """A bilinear layer reads two hidden layers."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.pair, self.out = (
            nn.Linear(4, 6),
            nn.Linear(4, 7),
            nn.Bilinear(6, 7, 5),
            nn.Linear(5, 2),
        )

    def forward(self, x):
        return self.out(torch.tanh(self.pair(torch.tanh(self.a(x)), torch.relu(self.b(x)))))


class Functional(nn.Module):
    """Embedding and norm called as functions on parameters of the module's own."""

    def __init__(self):
        super().__init__()
        self.table, self.scale, self.shift = (
            nn.Parameter(torch.randn(*size)) for size in ((11, 6), (6,), (6,))
        )
        self.out = nn.Linear(6, 2)

    def forward(self, tokens):
        x = F.embedding(tokens, self.table)
        return self.out(F.layer_norm(x, self.scale.shape, self.scale, self.shift, 1e-5).mean(1))


class WeightsOfHeads(nn.Module):
    """The attention weights of every head are an output: heads cannot be reordered."""

    def __init__(self):
        super().__init__()
        self.emb, self.attention = (
            nn.Embedding(11, 8),
            nn.MultiheadAttention(8, 4, batch_first=True),
        )

    def forward(self, tokens):
        x = self.emb(tokens)
        return self.attention(x, x, x, average_attn_weights=False)


class ReadsInputsFirst(nn.Module):
    """One layer, used on the inputs and then on its own units: those are as fixed as the inputs."""

    def __init__(self):
        super().__init__()
        self.a, self.c = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.c(torch.tanh(self.a(torch.tanh(self.a(x)))))


class SingleUnits(nn.Module):
    """Two single units are added: their signs flip together; a third, spread over many, keeps its sign."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = (
            nn.Linear(4, 1),
            nn.Linear(4, 1),
            nn.Linear(1, 3),
            nn.Linear(4, 1),
        )
        self.out = nn.Linear(3, 2)

    def forward(self, x):
        hidden = torch.tanh(self.c(torch.tanh(self.a(x)) + self.b(x)))
        return self.out(hidden * self.d(x).expand(-1, 3))


class Written(nn.Module):
    """Half of the units are overwritten: no unit of one half can stand in for one of the other."""

    def __init__(self):
        super().__init__()
        self.a, self.c = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x):
        hidden = self.a(x)
        hidden[:, :3] = 0.0
        return self.c(torch.tanh(hidden))


CASES = {
    "causal block": (CausalBlock, TOKENS, [(8, False), (4, False), (6, False)]),
    "vision block, by index": (lambda: VisionBlock(True), PATCHES, [(8, True), (4, False)]),
    "vision block, unbind": (lambda: VisionBlock(False), PATCHES, [(8, True), (4, False)]),
    "mm": (lambda: Products("mm"), ROWS, [(6, True)]),
    "addmm": (lambda: Products("addmm"), ROWS, [(6, True)]),
    "bmm": (lambda: Products("bmm"), ROWS, [(6, True)]),
    "einsum": (lambda: Products("einsum"), ROWS, [(6, True)]),
    "gate by chunk": (lambda: Gated(False), ROWS, [(6, False)]),
    "gate by slices": (lambda: Gated(True), ROWS, [(6, False)]),
    "parameters of one module": (Parameters, ROWS, [(6, True), (5, True)]),
    "embedding and norm as functions": (Functional, TOKENS, [(6, False)]),
    "weights of every head": (WeightsOfHeads, TOKENS, [(8, True)]),
    "bag of maxima": (
        lambda: nn.Sequential(nn.EmbeddingBag(11, 6, mode="max"), nn.Linear(6, 2)),
        TOKENS,
        [(6, False)],
    ),
    "encoder and decoder": (
        Translator,
        TOKENS,
        [(8, False), (2, False), (6, False), (4, False), (4, False), (5, False)],
    ),
    "bilinear": (Pairs, ROWS, [(6, True), (7, False), (5, True)]),
    "weight norm": (
        lambda: nn.Sequential(
            parametrizations.weight_norm(nn.Linear(4, 6)),
            nn.ReLU(),
            parametrizations.weight_norm(nn.Linear(6, 2)),
        ),
        ROWS,
        [(6, False)],
    ),
    "spectral norm": (
        lambda: nn.Sequential(
            parametrizations.spectral_norm(nn.Linear(4, 6)), nn.ReLU(), nn.Linear(6, 2)
        ),
        ROWS,
        [],
    ),
    "depthwise, transposed": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3),
            nn.ConvTranspose2d(6, 12, 2, groups=6),
            nn.Tanh(),
            nn.Conv2d(12, 2, 1),
        ),
        PATCHES,
        [(6, True)],
    ),
    "inputs first": (ReadsInputsFirst, ROWS, []),
    "single units": (SingleUnits, ROWS, [(1, True)]),
    "overwritten units": (Written, ROWS, []),
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_groups_hold_and_none_is_missed(case):
    build, inputs, expected = CASES[case]
    module = build().double().eval()
    spec = trace_spec(module, (inputs,)).spec
    assert sorted((g.width, g.signed) for g in spec) == sorted(expected)
    assert len({g.name for g in spec}) == len(spec)
    generator = np.random.default_rng(0)
    posterior = posterior_of_module(module, generator)
    buffers = {name: value.numpy() for name, value in module.named_buffers()}
    posterior = posterior.replace(buffers=buffers)
    checked = verify(
        spec, posterior, lambda w, b: outputs_of(module, {**w, **b}, inputs), generator
    )
    assert checked.kept.groups == spec.groups


class ReadsValues(nn.Module):
    def forward(self, x):
        return x * x.abs().max().item()


class BranchesOnValues(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize("module", [ReadsValues(), BranchesOnValues()])
def test_a_course_that_depends_on_values_is_refused(module):
    with pytest.raises(UnsupportedError) as caught:
        trace_spec(module, (ROWS,))
    assert caught.value.code == "untraceable"


class Reshaped(nn.Module):
    """Units go through reshapes, transpositions and chunks drawn at random, and are read by a linear layer."""

    def __init__(self, seed):
        super().__init__()
        generator = np.random.default_rng(seed)
        self.width = int(generator.choice([6, 8, 12, 24]))
        self.a, self.c, self.steps = (
            nn.Linear(4, self.width),
            nn.LazyLinear(2),
            generator.integers(5, size=6).tolist(),
        )
        self.seed = seed

    def forward(self, x):
        generator, hidden = np.random.default_rng(self.seed), self.a(x)
        for step in self.steps:
            shape = list(hidden.shape[1:])
            axis = int(generator.integers(len(shape))) + 1
            if step == 0:
                size = math.prod(shape)
                first = int(generator.choice([d for d in range(1, size + 1) if size % d == 0]))
                hidden = hidden.reshape(-1, first, size // first)
            elif step == 1:
                hidden = hidden.movedim(axis, 1) if len(shape) > 1 else hidden
            elif step == 2 and hidden.shape[axis] % 2 == 0:
                first, second = hidden.chunk(2, axis)
                hidden = first - second
            elif step == 3:
                hidden = torch.relu(hidden)
            else:
                hidden = hidden.flatten(1)
        return self.c(hidden.flatten(1))


@pytest.mark.parametrize("block", range(8))
def test_reshapes_never_invent_a_symmetry(block):
    found = 0
    for seed in range(25 * block, 25 * block + 25):
        module = Reshaped(seed).double()
        with torch.no_grad():
            module(ROWS)
        spec = trace_spec(module, (ROWS,)).spec
        generator = np.random.default_rng(seed)
        posterior = posterior_of_module(module, generator)
        checked = verify(
            spec, posterior, lambda w, b, module=module: outputs_of(module, w, ROWS), generator
        )
        assert checked.failures == (), (seed, module.steps)
        found += len(spec)
    assert found >= 15


class OneOutputSqueezed(nn.Module):
    """The usual end of a regression net: (N, 1) becomes (N,)."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, 3), nn.Linear(3, 1)

    def forward(self, x):
        return self.fc2(torch.tanh(self.fc1(x))).squeeze(-1)


def test_a_single_output_may_lose_its_axis():
    module = OneOutputSqueezed().double()
    spec = trace_spec(module, (ROWS,)).spec
    assert [(g.name, g.width, g.signed) for g in spec] == [("fc1", 3, True)]
