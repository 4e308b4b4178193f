import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symdiag.symmetry.elements import Element, act, act_on_axis, random_action
from symdiag.symmetry.spec import Group, Member, PermutationSpec


@st.composite
def elements(draw, width):
    order = draw(st.permutations(range(width)))
    signs = draw(st.lists(st.sampled_from([-1.0, 1.0]), min_size=width, max_size=width))
    return Element(np.array(order), np.array(signs))


@settings(max_examples=60, deadline=None)
@given(
    st.data(),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(1, 3),
    st.booleans(),
    st.none() | st.integers(0, 3),
)
def test_action_is_a_group_action(data, width, outer, inner, flips, start):
    first, second = data.draw(elements(width)), data.draw(elements(width))
    member = Member("w", 1, outer, inner, flips, start)
    length = outer * width * inner + (0 if start is None else start + 2)
    array = np.arange(2.0 * length * 3).reshape(2, -1, 3) + 1.0
    one_by_one = act_on_axis(act_on_axis(array, member, first), member, second)
    np.testing.assert_array_equal(one_by_one, act_on_axis(array, member, first.compose(second)))
    np.testing.assert_array_equal(
        act_on_axis(act_on_axis(array, member, first), member, first.inverse()), array
    )
    assert first.compose(first.inverse()).is_identity
    identity = Element.identity(width)
    np.testing.assert_array_equal(act_on_axis(array, member, identity), array)


def test_axis_is_read_as_outer_units_inner():
    array = np.arange(12)  # two gates, three units, two columns each
    moved = act_on_axis(
        array,
        Member("w", 0, outer=2, inner=2),
        Element(np.array([2, 0, 1]), np.array([1.0, -1.0, 1.0])),
    )
    assert moved.tolist() == [4, 5, 0, -1, 2, 3, 10, 11, -6, -7, 8, 9]
    unflipped = act_on_axis(
        array, Member("w", 0, 2, 2), Element(np.arange(3), -np.ones(3)), flip=False
    )
    assert unflipped.tolist() == array.tolist()


def test_a_range_leaves_the_rest_of_the_axis_alone():
    array = np.arange(6.0)
    moved = act_on_axis(
        array, Member("w", 0, start=2), Element(np.array([2, 0, 1]), np.array([1.0, -1.0, 1.0]))
    )
    assert moved.tolist() == [0, 1, 4, -2, 3, 5]
    assert array.tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="reshape"):
        act_on_axis(array, Member("w", 0, start=4), Element.identity(3))


def test_actions_of_two_groups_on_one_tensor_commute_and_invert():
    generator = np.random.default_rng(0)
    spec = PermutationSpec(
        (
            Group("rows", 4, (Member("w", 0),), signed=True),
            Group("columns", 5, (Member("w", 1), Member("missing", 0))),
        )
    )
    arrays = {"w": generator.standard_normal((4, 5)), "other": np.ones(2)}
    action = random_action(spec, generator)
    moved = act(spec, action, arrays)
    reversed_spec = PermutationSpec(spec.groups[::-1])
    np.testing.assert_array_equal(moved["w"], act(reversed_spec, action, arrays)["w"])
    np.testing.assert_array_equal(
        act(spec, {n: e.inverse() for n, e in action.items()}, moved)["w"], arrays["w"]
    )
    assert moved["other"] is arrays["other"]
    np.testing.assert_array_equal(act(spec, {}, arrays)["w"], arrays["w"])


@pytest.mark.parametrize("signed", [False, True])
def test_random_elements_are_uniform(signed):
    group, generator = Group("g", 3, (Member("w", 0),), signed=signed), np.random.default_rng(1)
    draws = 9600
    counts: dict[tuple, int] = {}
    for _ in range(draws):
        element = Element.random(group, generator)
        key = (*element.permutation.tolist(), *element.signs.tolist())
        counts[key] = counts.get(key, 0) + 1
    order = round(math.exp(group.log_order))
    assert len(counts) == order == (48 if signed else 6)
    expected = draws / order
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_square < order + 5 * math.sqrt(2 * order)


def test_orders_count_elements():
    for width, signed in itertools.product(range(1, 6), (False, True)):
        group = Group("g", width, (Member("w", 0),), signed=signed)
        count = math.factorial(width) * 2 ** (width if signed else 0)
        assert group.log_order == pytest.approx(math.log(count), abs=1e-12)


def test_specs_know_their_groups():
    first, second, third = (
        Group("a", 2, (Member("v", 0), Member("w", 1))),
        Group("b", 3, (Member("w", 0),)),
        Group("c", 3, (Member("r", 0), Member("r", 1))),
    )
    spec = PermutationSpec((first, second, third))
    assert (len(spec), spec.group("b")) == (3, second)
    assert spec.adjacent(first, second)
    assert not spec.adjacent(second, third)
    assert first.is_matrix_permanent
    assert not third.is_matrix_permanent
    with pytest.raises(KeyError):
        spec.group("missing")
