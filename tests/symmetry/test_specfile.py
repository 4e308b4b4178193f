import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "network"))

from network_examples import mlp_shapes, posterior_of

from symdiag.errors import UsageError
from symdiag.symmetry.spec import Group, Member, PermutationSpec
from symdiag.symmetry.specfile import format_spec, read_spec, write_spec

PRINTABLE = st.characters(exclude_categories=("C", "Z"))
NAMES = st.text(PRINTABLE | st.sampled_from(' \t\x7f"\\'), min_size=1, max_size=12)
STARTS = st.none() | st.integers(0, 40)
MEMBERS = st.builds(
    Member, NAMES, st.integers(0, 4), st.integers(1, 4), st.integers(1, 9), st.booleans(), STARTS
)
GROUPS = st.builds(
    Group,
    NAMES,
    st.integers(1, 4096),
    st.lists(MEMBERS, min_size=1, max_size=4, unique_by=lambda m: (m.tensor, m.axis)).map(tuple),
    signed=st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(GROUPS, max_size=4, unique_by=lambda g: g.name), st.lists(NAMES, max_size=3))
def test_written_specs_are_read_back_equal(tmp_path_factory, groups, notes):
    path = tmp_path_factory.mktemp("specs") / "spec.toml"
    spec = PermutationSpec(tuple(groups), tuple(notes))
    write_spec(spec, path)
    assert read_spec(path) == spec


def test_the_documented_example_is_valid(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "spec-file.md").read_text(encoding="utf-8")
    block = text.split("```toml\n")[1].split("```")[0]
    path = tmp_path / "spec.toml"
    path.write_text(block, encoding="utf-8")
    shapes = {
        "fc_in.weight": (12, 10),
        "fc_in.bias": (12,),
        "block1_fc1.weight": (8, 12),
        "block1_fc1.bias": (8,),
    }
    shapes |= {
        "block1_fc2.weight": (12, 8),
        "block1_fc2.bias": (12,),
        "fc_out.weight": (1, 12),
        "fc_out.bias": (1,),
    }
    spec = read_spec(path, posterior_of(shapes))
    assert {g.name: (g.width, g.signed, len(g.members)) for g in spec} == {
        "stream": (12, True, 6),
        "block1_fc1": (8, True, 3),
    }


GOOD = 'version = 1\n[[group]]\nname = "fc1"\nwidth = 5\nmembers = [{tensor = "fc1.weight", axis = 0}]\n'
BAD = {
    "not TOML": ("version = ", "TOML"),
    "no version": (GOOD.replace("version = 1\n", ""), "version = 1"),
    "other version": (GOOD.replace("version = 1", "version = 2"), "version = 1"),
    "unknown top key": ("colour = 1\n" + GOOD, "colour"),
    "group is no table": ("version = 1\ngroup = 3\n", "[[group]]"),
    "unknown group key": (GOOD + "sign = true\n", "sign"),
    "no name": (GOOD.replace('name = "fc1"\n', ""), "group number 1: name is missing"),
    "no members": (GOOD.replace('{tensor = "fc1.weight", axis = 0}', ""), "no members"),
    "member is no table": (
        GOOD.replace('{tensor = "fc1.weight", axis = 0}', '"fc1.weight"'),
        "a member is written",
    ),
    "member without axis": (GOOD.replace(", axis = 0", ""), "axis is missing"),
    "axis is text": (GOOD.replace("axis = 0", 'axis = "0"'), "axis must be of type int"),
    "width is a boolean": (GOOD.replace("width = 5", "width = true"), "width must be of type int"),
    "zero width": (GOOD.replace("width = 5", "width = 0"), "at least 1"),
    "zero inner": (GOOD.replace("axis = 0", "axis = 0, inner = 0"), "at least 1"),
    "unknown member key": (GOOD.replace("axis = 0", "axis = 0, offset = 1"), "offset"),
    "same name twice": (
        GOOD + GOOD.replace("version = 1\n", "").replace(".weight", ".bias"),
        "called 'fc1'",
    ),
    "no such tensor": (GOOD.replace("fc1.weight", "fc9.weight"), "no tensor 'fc9.weight'"),
    "no such axis": (GOOD.replace("axis = 0", "axis = 2"), "no axis 2"),
    "negative axis": (GOOD.replace("axis = 0", "axis = -1"), "no axis -1"),
    "wrong width": (
        GOOD.replace("width = 5", "width = 4"),
        "(5, 3) is not outer 1 x width 4 x inner 1 = 4 long",
    ),
    "axis claimed twice": (
        GOOD + GOOD.replace("version = 1\n", "").replace('"fc1"', '"other"'),
        "claimed twice",
    ),
    "a range claimed twice": (
        GOOD.replace("width = 5", "width = 3").replace("axis = 0", "axis = 0, start = 0")
        + '[[group]]\nname = "other"\nwidth = 3\nmembers = [{tensor = "fc1.weight", axis = 0, start = 2}]\n',
        "claimed twice: by 'fc1', 'other'",
    ),
    "range too long": (
        GOOD.replace("axis = 0", "axis = 0, start = 1"),
        "has no outer 1 x width 5 x inner 1 = 5 entries",
    ),
    "negative start": (
        GOOD.replace("axis = 0", "axis = 0, start = -1"),
        "start must be at least 0",
    ),
    "a range without its start": (
        GOOD.replace("width = 5", "width = 2"),
        "is not outer 1 x width 2",
    ),
    "notes are no list": ("notes = 1\n" + GOOD, "notes"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_faults_are_named(tmp_path, case):
    text, word = BAD[case]
    path = tmp_path / "spec.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_spec(path, posterior_of(mlp_shapes(3, 5, 2)))
    assert caught.value.code == "bad-spec"
    assert word in caught.value.message
    assert caught.value.hint


def test_files_that_cannot_be_read(tmp_path):
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing.toml", tmp_path, binary):
        with pytest.raises(UsageError) as caught:
            read_spec(path)
        assert caught.value.code == "bad-spec"


def test_default_values_are_left_out_of_the_text():
    group = Group("g", 2, (Member("a", 0), Member("b", 1, 2, 3, flips=False)), signed=True)
    text = format_spec(PermutationSpec((group,)))
    assert '{ tensor = "a", axis = 0 }' in text
    assert '{ tensor = "b", axis = 1, outer = 2, inner = 3, flips = false }' in text


def test_ranges_of_one_axis_may_belong_to_several_groups(tmp_path):
    groups = (
        Group("first", 2, (Member("fc1.weight", 0, start=0), Member("fc1.bias", 0, start=0))),
        Group("second", 3, (Member("fc1.weight", 0, start=2), Member("fc1.bias", 0, start=2))),
    )
    path = tmp_path / "spec.toml"
    write_spec(PermutationSpec(groups), path)
    assert read_spec(path, posterior_of(mlp_shapes(3, 5, 2))) == PermutationSpec(groups)
    assert '{ tensor = "fc1.weight", axis = 0, start = 2 }' in path.read_text()
