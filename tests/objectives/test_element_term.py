"""Groups on two axes of one tensor: the chain's gradient against the sum over all elements."""

import numpy as np
import pytest
import torch

from symdiag.errors import UnsupportedError, UsageError
from symdiag.estimators.joint import every_element
from symdiag.objectives.element_term import ElementTerm
from symdiag.objectives.variational import Variational
from symdiag.posterior import Posterior
from symdiag.symmetry.elements import act
from symdiag.symmetry.spec import Group, Member, PermutationSpec

WIDTH, DRAWS = 3, 4
SHAPES = {"read": (WIDTH, 2), "keep": (2 * WIDTH, WIDTH + 1), "bias": (WIDTH,), "out": (1, WIDTH)}


def cell(signed):
    """Two gates over one state, which the second gate's matrix reads beside an input."""
    members = (
        Member("read", 0),
        Member("keep", 0, outer=2),
        Member("keep", 1, start=1),
        Member("bias", 0, flips=False),
        Member("out", 1),
    )
    return Group("cell", WIDTH, members, signed)


def posterior():
    rng = np.random.default_rng(0)
    loc = {n: 0.4 * rng.standard_normal(shape) for n, shape in SHAPES.items()}
    scale = {n: 0.5 + 0.3 * rng.random(shape) for n, shape in SHAPES.items()}
    # deterministic, and alike in all units: it says nothing and forbids nothing
    scale["bias"][:], loc["bias"][:] = 0.0, 0.3
    return Posterior(loc, scale)


def log_density(q, flat):
    random = q.scale > 0
    std = torch.where(random, q.scale, 1.0)
    terms = -0.5 * ((flat - q.loc) / std) ** 2 - torch.log(std)
    return torch.where(random, terms, 0.0).sum(-1)


def gradients(q, value):
    found = torch.autograd.grad(value, [q.loc, q.log_scale])
    return torch.cat([part * (q.scale.detach() > 0) for part in found])


@pytest.mark.parametrize("signed", [False, True])
def test_gradient_and_value_against_every_element(signed):
    group, q = cell(signed), Variational.of(posterior())
    noise = torch.from_numpy(np.random.default_rng(1).standard_normal((DRAWS, q.layout.size)))
    draws = q.loc + q.scale * noise
    elements = every_element((group,))["cell"]
    spec = PermutationSpec((group,))
    exact = 0.0
    for draw in draws:
        named = {n: v.expand(len(elements), *v.shape) for n, v in q.layout.split(draw).items()}
        moved = act(spec, {"cell": elements}, named)
        flat = torch.cat([moved[n].reshape(len(elements), -1) for n in SHAPES], dim=1)
        exact = exact + torch.logsumexp(log_density(q, flat) - log_density(q, draw), 0) / DRAWS
    expected = gradients(q, exact)

    term = ElementTerm(group, q)
    runs = [
        term(q.loc, q.scale, q.loc + q.scale * noise, np.random.default_rng(seed))
        for seed in range(40)
    ]
    values = torch.stack(runs)
    found = gradients(q, values.mean())
    assert torch.linalg.norm(found - expected) < 0.08 * torch.linalg.norm(expected)
    # a sum over some of the elements, and so many were met that little is missing
    assert (values <= exact + 1e-9).all()
    assert values.mean() > 0.95 * exact


def test_deterministic_weights_that_differ_forbid_every_exchange():
    q = posterior()
    q.loc["bias"][:] = [0.1, 0.2, 0.3]
    q = Variational.of(q)
    term = ElementTerm(cell(False), q)
    draws = q.loc.detach()[None].repeat(2, 1)
    value = term(q.loc, q.scale, draws, np.random.default_rng(0))
    assert value.item() == 0.0
    # the identity's own moments, averaged over looks: zero but for rounding
    assert gradients(q, value).abs().max() < 1e-12


def test_what_has_no_gradient_is_refused_in_one_line():
    q = Variational.of(posterior())
    with pytest.raises(UsageError, match="two axes of one tensor") as caught:
        ElementTerm(cell(False), q, "exact")
    assert caught.value.code == "bad-option"
    cube = Posterior({"w": np.zeros((2, 2, 2))}, {"w": np.ones((2, 2, 2))})
    group = Group("g", 2, tuple(Member("w", axis) for axis in range(3)))
    with pytest.raises(UnsupportedError, match="3 axes") as caught:
        ElementTerm(group, Variational.of(cube))
    assert caught.value.code == "not-a-permanent"
