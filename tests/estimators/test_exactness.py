"""Per weight draw, the permanent equals the sum over every group element."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from brute_force import mlp, one_draw, straddling_of

from symdiag.estimators import densities
from symdiag.estimators.densities import SlotDensity, squared_distances
from symdiag.estimators.layerwise import group_values
from symdiag.permanents import DEFAULT
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group, Member, PermutationSpec


def value(posterior: Posterior, group: Group, draw: dict[str, np.ndarray]) -> float:
    tensors = [
        {n: torch.from_numpy(v) for n, v in part.items()}
        for part in (posterior.loc, posterior.scale)
    ]
    batch = {n: torch.from_numpy(v)[None] for n, v in draw.items()}
    result = group_values(
        group, *tensors, batch, generator=np.random.default_rng(0), effort=DEFAULT
    )
    assert result.exact.all()
    return float(result.value[0])


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("width", [2, 3, 5])
@pytest.mark.parametrize("std", [0.02, 0.3, 1.5])
def test_one_group_matches_enumeration(width, std, signed):
    posterior, spec = mlp((3, width, 2), seed=width, std=std, signed=signed)
    draw = one_draw(posterior, 1)
    assert value(posterior, spec.groups[0], draw) == pytest.approx(
        straddling_of(posterior, spec, draw), abs=1e-9
    )


def test_width_seven_matches_enumeration():
    posterior, spec = mlp((2, 7, 1), seed=3, std=0.8)
    draw = one_draw(posterior, 4)
    assert value(posterior, spec.groups[0], draw) == pytest.approx(
        straddling_of(posterior, spec, draw), abs=1e-9
    )


def test_other_groups_stay_at_the_identity():
    posterior, spec = mlp((2, 4, 3, 1), seed=5, std=1.0)
    draw = one_draw(posterior, 6)
    for group in spec:
        alone = PermutationSpec((group,))
        assert value(posterior, group, draw) == pytest.approx(
            straddling_of(posterior, alone, draw), abs=1e-9
        )


def test_log_density_ranges_of_1e5_lose_nothing():
    posterior, spec = mlp((4, 5, 2), seed=7, spread=30.0, std=0.1)
    twin = {n: v.copy() for n, v in posterior.loc.items()}
    twin["l0.weight"][1], twin["l0.bias"][1] = twin["l0.weight"][0], twin["l0.bias"][0]
    twin["l1.weight"][:, 1] = twin["l1.weight"][:, 0]
    posterior = posterior.replace(loc=twin)
    draw = one_draw(posterior, 8)
    tensors = [
        {n: torch.from_numpy(v) for n, v in part.items()}
        for part in (posterior.loc, posterior.scale)
    ]
    matrix = SlotDensity(spec.groups[0], *tensors)(
        {n: torch.from_numpy(v)[None] for n, v in draw.items()}
    )
    assert float(matrix.min()) < -1e5
    expected = straddling_of(posterior, spec, draw)
    assert expected > 0.01
    assert value(posterior, spec.groups[0], draw) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("signed", [False, True])
def test_deterministic_weights_pin_units_that_differ(signed):
    posterior, spec = mlp((2, 4, 1), seed=9, std=1.0, signed=signed)
    scale = {n: v.copy() for n, v in posterior.scale.items()}
    loc = {n: v.copy() for n, v in posterior.loc.items()}
    scale["l0.weight"][:, 0] = 0.0
    loc["l0.weight"][:, 0] = [
        1.0,
        1.0,
        -1.0,
        0.0,
    ]  # units 0, 1 may swap; 2 only with a flip; 3 only with itself
    posterior = posterior.replace(loc=loc, scale=scale)
    draw = one_draw(posterior, 10)
    got = value(posterior, spec.groups[0], draw)
    assert got == pytest.approx(straddling_of(posterior, spec, draw), abs=1e-9)
    assert got > 0.0


@pytest.mark.parametrize("width", [2, 6, 12, 20, 40])
def test_identical_units_give_log_factorial(width):
    group = Group("h", width, (Member("w", 0), Member("v", 1)))
    rng = np.random.default_rng(0)
    loc = {
        "w": np.tile(rng.normal(size=3), (width, 1)),
        "v": np.tile(rng.normal(size=(2, 1)), (1, width)),
    }
    posterior = Posterior(loc, {n: np.full(v.shape, 0.7) for n, v in loc.items()})
    draw = one_draw(posterior, 1)
    assert value(posterior, group, draw) == pytest.approx(math.lgamma(width + 1), abs=1e-9)


@pytest.mark.parametrize("width", [3, 20, 100])
def test_well_separated_units_give_zero(width):
    group = Group("h", width, (Member("w", 0),))
    posterior = Posterior({"w": 100.0 * np.arange(width)[:, None]}, {"w": np.ones((width, 1))})
    assert value(posterior, group, one_draw(posterior, 2)) == pytest.approx(0.0, abs=1e-9)


def test_expansion_equals_differences_where_it_matters():
    """The matrix-product path for large layers against plain differences, far from the origin and
    with twins.
    """
    rng = np.random.default_rng(3)
    width, size = 128, 600
    loc = torch.from_numpy(1e3 + rng.normal(size=(width, size)))
    loc[1] = loc[0]
    precision = torch.from_numpy(rng.uniform(1.0, 1e6, size=(width, size)))
    precision[1] = precision[0]
    points = loc + torch.from_numpy(rng.normal(size=(1, width, size))) / precision.sqrt()
    assert width * width * size > 1 << 22
    got = squared_distances(loc, precision, points)[0]
    direct = torch.stack([(precision[i] * (points[0] - loc[i]) ** 2).sum(-1) for i in range(width)])
    near = direct < 4.0 * size
    assert int(near.sum()) >= width + 2
    assert float((got - direct).abs()[near].max()) < 1e-6
    assert float(((got - direct).abs() / direct).max()) < 1e-9


@pytest.mark.parametrize("limit", [0, densities._DIRECT_LIMIT])
def test_gradient_of_the_densities_matches_differences(limit, monkeypatch):
    monkeypatch.setattr(densities, "_DIRECT_LIMIT", limit)
    posterior, spec = mlp((2, 3, 1), seed=11, std=0.8, signed=True)
    group = spec.groups[0]
    draw = {n: torch.from_numpy(v)[None] for n, v in one_draw(posterior, 12).items()}
    names = list(group.tensors)

    def total(*flat: torch.Tensor) -> torch.Tensor:
        loc = dict(zip(names, flat[: len(names)], strict=True))
        scale = dict(zip(names, flat[len(names) :], strict=True))
        return SlotDensity(group, loc, scale)(draw)

    inputs = [
        torch.tensor(p[n], requires_grad=True)
        for p in (posterior.loc, posterior.scale)
        for n in names
    ]
    assert torch.autograd.gradcheck(total, inputs, eps=1e-6, atol=1e-6)


def test_a_single_entry_that_the_expansion_cannot_resolve_is_recomputed(monkeypatch):
    """Two units 2e8 apart: products of 1e16 leave nothing of the quarter between a mean and its draw."""
    monkeypatch.setattr(densities, "_DIRECT_LIMIT", 0)
    loc = torch.tensor([[-1e8], [1e8]], dtype=torch.float64)
    x = torch.tensor([[[-1e8], [1e8 + 0.5]]], dtype=torch.float64)
    # the other unit's weight says next to nothing, so that its error matters to nobody
    precision = torch.tensor([[1e-18], [1.0]], dtype=torch.float64)
    found = squared_distances(loc, precision, x)[0]
    assert found[1, 1].item() == 0.25
    assert found[0].abs().max().item() < 0.05
