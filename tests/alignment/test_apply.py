"""Moving posteriors and other people's tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from alignment_examples import mlp_spec, planted, random_posterior

from symdiag.alignment import align
from symdiag.alignment.align import move_posterior
from symdiag.posterior import Covariance, Posterior
from symdiag.symmetry.elements import act, random_action
from symdiag.symmetry.spec import Group, Member, PermutationSpec


def stacked_spec():
    members = (
        Member("qkv", 0, outer=3, inner=2),
        Member("out", -1, inner=2),
        Member("norm", 0, inner=2, flips=False),
    )
    return PermutationSpec(
        (Group("heads", 4, (*members, Member("cat", 1, inner=2, start=3)), signed=True),)
    )


def as_matrix(length, member, element, flip):
    """The action on one axis as a matrix: identity, and on the units' range outer x units x inner."""
    signs = element.signs if flip and member.flips else np.ones(4)
    units = np.eye(4)[element.permutation] * signs[:, None]
    own = np.kron(np.eye(member.outer), np.kron(units, np.eye(member.inner)))
    whole = np.eye(length)
    whole[member.span(4), member.span(4)] = own
    return whole


@pytest.mark.parametrize("flip", [True, False])
def test_tensors_of_numpy_and_torch_move_as_by_a_matrix(flip):
    generator = np.random.default_rng(0)
    spec = stacked_spec()
    arrays = {"qkv": generator.standard_normal((24, 5)), "out": generator.standard_normal((5, 8))}
    arrays |= {"norm": generator.standard_normal(8), "other": generator.standard_normal(3)}
    arrays["cat"] = generator.standard_normal((2, 13, 2))
    action = random_action(spec, generator)
    kept = {name: array.copy() for name, array in arrays.items()}
    expected = dict(arrays)
    for member in spec.groups[0].members:
        array = expected[member.tensor]
        matrix = as_matrix(array.shape[member.axis], member, action["heads"], flip)
        moved = np.moveaxis(np.tensordot(matrix, array, (1, member.axis)), 0, member.axis)
        expected[member.tensor] = moved
    for name, moved in act(spec, action, arrays, flip=flip).items():
        assert (moved == expected[name]).all()
    tensors = {n: torch.tensor(a) for n, a in arrays.items()}
    for name, moved in act(spec, action, tensors, flip=flip).items():
        assert isinstance(moved, torch.Tensor)
        assert (moved.numpy() == expected[name]).all()
    assert all((arrays[name] == kept[name]).all() for name in arrays)


def test_half_precision_and_integer_tensors_keep_their_dtype():
    spec = PermutationSpec(
        (Group("h", 3, (Member("w", 0), Member("count", 0, flips=False)), signed=True),)
    )
    action = random_action(spec, np.random.default_rng(1))
    tensors = {"w": torch.ones(3, dtype=torch.bfloat16), "count": torch.arange(3)}
    moved = act(spec, action, tensors)
    assert (moved["w"].dtype, moved["count"].dtype) == (torch.bfloat16, torch.int64)
    assert moved["w"].float().tolist() == action["h"].signs.tolist()


def test_an_alignments_apply_moves_a_state_dict_like_its_posterior():
    generator = np.random.default_rng(2)
    spec, shapes = mlp_spec([3, 5, 4, 2], signed=True)
    reference = random_posterior(shapes, generator)
    model, _ = planted(reference, spec, generator)
    found = align(model, reference, spec)
    moved = found.apply({name: torch.tensor(array) for name, array in model.loc.items()})
    assert all((moved[name].numpy() == found.posterior.loc[name]).all() for name in model.names)
    stds = found.apply(model.scale, flip=False)
    assert all((stds[name] == found.posterior.scale[name]).all() for name in model.names)


def test_covariance_and_buffers_move_with_the_weights():
    generator = np.random.default_rng(3)
    spec, shapes = mlp_spec([2, 3, 1], signed=True)
    spec = PermutationSpec(
        (Group("h1", 3, (*spec.groups[0].members, Member("running", 0)), signed=True),)
    )
    plain = random_posterior(shapes, generator)
    order = ("w2", "w1", "b1", "b2")
    size = sum(plain.loc[n].size for n in order)
    factor = generator.standard_normal((size, 2))
    covariance = Covariance(order, factor, generator.uniform(0.1, 1.0, size))
    posterior = Posterior(
        plain.loc, plain.scale, buffers={"running": np.arange(3.0)}, covariance=covariance
    )
    action = random_action(spec, generator)
    moved = move_posterior(posterior, spec, action)
    # moving samples of the posterior and sampling the moved posterior give the same covariance
    for column in range(2):
        direction = unflatten(factor[:, column], order, plain)
        assert flatten(act(spec, action, direction), order) == pytest.approx(
            moved.covariance.factor[:, column]
        )
    diagonal = unflatten(covariance.diagonal, order, plain)
    assert flatten(act(spec, action, diagonal, flip=False), order) == pytest.approx(
        moved.covariance.diagonal
    )
    assert (
        moved.buffers["running"] == np.arange(3.0)[action["h1"].permutation] * action["h1"].signs
    ).all()


def unflatten(vector, order, like):
    parts, start = {}, 0
    for name in order:
        parts[name] = vector[start : start + like.loc[name].size].reshape(like.loc[name].shape)
        start += like.loc[name].size
    return parts


def flatten(arrays, order):
    return np.concatenate([arrays[name].ravel() for name in order])
