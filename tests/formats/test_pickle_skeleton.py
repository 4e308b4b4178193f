"""The non-executing pickle interpreter: agrees with torch on good pickles, refuses everything else by name."""

import io
import zipfile
from collections import OrderedDict
from typing import Any

import pytest
import torch

from symdiag.errors import InputError
from symdiag.formats.limits import DEFAULT
from symdiag.formats.pickle_globals import check_globals, scan_globals
from symdiag.formats.pickle_skeleton import TensorSpec, skeleton

TORCH_TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"


def _program(obj: Any) -> bytes:
    out = io.BytesIO()
    torch.save(obj, out)
    with zipfile.ZipFile(out) as archive:
        return archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))


def test_describes_tensors_as_torch_stores_them():
    base = torch.arange(12.0).reshape(3, 4)
    saved = {
        "a": base[1:, ::2],
        "b": [torch.nn.Parameter(torch.ones(2, dtype=torch.float64)), 3, ("x", None)],
        "c": OrderedDict(d=torch.zeros((), dtype=torch.bool)),
    }
    found = skeleton(_program(saved), DEFAULT)
    a = found["a"]
    assert (a.dtype, a.shape, a.stride, a.offset, a.storage.numel) == (
        "float32",
        (2, 2),
        (4, 2),
        4,
        12,
    )
    assert a.span == 7
    assert found["b"][0].dtype == "float64"
    assert found["b"][1:] == [3, ("x", None)]
    assert found["c"]["d"].shape == ()
    assert TensorSpec("float32", (2, 0), (1, 1)).span == 0


def test_tensor_with_attributes_of_its_own():
    tagged = torch.ones(2)
    tagged.tag = "prior"
    assert skeleton(_program({"w": tagged}), DEFAULT)["w"].shape == (2,)


@pytest.mark.parametrize(
    ("program", "code", "says"),
    [
        (b"\x80\x03}.", "unsupported", "protocol 3"),
        (b"\x80\x02(i.", "corrupt", ""),
        (b"\x80\x02cos\nsystem\n)\x81.", "unsafe-checkpoint", "creates an object of os.system"),
        (b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.", "unsafe-checkpoint", "calls os.system"),
        (b"\x80\x02K\x01)\x81.", "unsafe-checkpoint", "creates an object"),
        (b"\x80\x02]}b.", "unsafe-checkpoint", "sets the state"),
        (b"\x80\x02}K\x01R.", "corrupt", "TypeError"),
        (b"\x80\x02K\x01)R.", "corrupt", "TypeError"),
        (b"\x80\x02K\x01\x87.", "corrupt", "ValueError"),
        (b"\x80\x02K\x01Q.", "corrupt", "TypeError"),
        (b"\x80\x02K\x01K\x02K\x03K\x04(K\x05tQ.", "corrupt", ""),
        (b"\x80\x02" + TORCH_TENSOR + b"(K\x00K\x00))tR.", "corrupt", "TypeError"),
        (b"\x80\x02ctorch\nSize\nK\x01\x85R.", "corrupt", "TypeError"),
        (b"\x80\x02h\x07.", "corrupt", "KeyError"),
        (b"\x80\x02t.", "corrupt", "IndexError"),
        (b"\x80\x02]", "corrupt", ""),
        (b"\x80\x02\x8f.", "unsupported", "EMPTY_SET"),
        (b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00.", "unsupported", "protocol 4"),
    ],
)
def test_programs_torch_does_not_write(program: bytes, code: str, says: str):
    with pytest.raises(InputError) as caught:
        skeleton(program, DEFAULT)
    assert caught.value.code == code
    assert says in caught.value.message


def test_constraint_classes_are_the_only_strangers_let_through():
    good = b"\x80\x02cpyro.distributions.constraints\n_SoftplusPositive\n)\x81."
    assert check_globals(good, DEFAULT) == ("pyro.distributions.constraints._SoftplusPositive",)
    assert check_globals(b"\x80\x02ctorch.distributions.constraints\n_Real\n)R.", DEFAULT)
    for name in (
        b"pyro.distributions.constraints.os\nsystem",
        b"torch.distributions\nNormal",
        b"torch\nfloat_power",
    ):
        with pytest.raises(InputError) as caught:
            check_globals(b"\x80\x02c" + name + b"\n)R.", DEFAULT)
        assert caught.value.code == "unsafe-checkpoint"


def test_globals_are_found_in_broken_pickles_too():
    assert scan_globals(b"\x80\x02cos\nsystem\nX\xff", DEFAULT) == (["os.system"], False)
    assert scan_globals(b"\x80\x04\x8c\x02os\x8c\x06system\x93.", DEFAULT) == (["os.system"], True)
    assert scan_globals(b"(S'ls'\nios\nsystem\n.", DEFAULT) == (["os.system"], True)
