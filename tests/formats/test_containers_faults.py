"""Every bad file of docs/security.md is refused with its documented code and leaves no side effect."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hostile_files import FAULTS, Fault, good_state

from symdiag.errors import InputError
from symdiag.formats.limits import Limits
from symdiag.formats.reading import read_header, read_raw

SECURITY = Path(__file__).parents[2] / "docs" / "security.md"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.label)
def test_bad_file_is_refused_with_its_code(fault: Fault, tmp_path: Path):
    canary = tmp_path / "canary"
    path = tmp_path / f"model{fault.suffix}"
    path.write_bytes(fault.content(canary))
    readers = [read_raw, read_header] if fault.in_header else [read_raw]
    for reader in readers:
        with pytest.raises(InputError) as caught:
            reader(path)
        assert caught.value.code == fault.code
        assert fault.says in caught.value.message
        assert "\n" not in caught.value.message
        assert caught.value.hint
    assert not canary.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]


def test_canary_works(tmp_path: Path):
    """The payload really would leave its mark if anything ran it."""
    import pickle

    from hostile_files import Touch

    pickle.loads(pickle.dumps(Touch(tmp_path / "canary"))).close()
    assert (tmp_path / "canary").exists()


def test_documented_codes_are_those_raised():
    table = SECURITY.read_text(encoding="utf-8")
    rows = {int(n): line for n, line in re.findall(r"^\| *(\d+) \|(.*)$", table, re.MULTILINE)}
    assert sorted(rows) == list(range(1, 21))
    for fault in FAULTS:
        assert f"`{fault.code}`" in rows[fault.row], fault.label


def _code(path: Path) -> str:
    codes = set()
    for reader in (read_raw, read_header):
        with pytest.raises(InputError) as caught:
            reader(path)
        codes.add(caught.value.code)
    assert len(codes) == 1
    return codes.pop()


def test_directory(tmp_path: Path):
    assert _code(tmp_path) == "not-a-file"


def test_missing(tmp_path: Path):
    assert _code(tmp_path / "no.pt") == "not-found"


def test_name_with_a_null_byte():
    assert _code(Path("a\0b")) == "unreadable"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_fifo_does_not_block(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.pt")
    assert _code(tmp_path / "pipe.pt") == "not-a-file"


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs device files")
def test_device():
    assert _code(Path("/dev/zero")) == "not-a-file"


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs unix sockets")
def test_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.pt")
        assert _code(Path("s.pt")) == "not-a-file"


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "m.pt"
    path.write_bytes(b"x")
    path.chmod(0)
    if os.access(path, os.R_OK):  # the superuser may read anything

        def refuse(*_args: object) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
    assert _code(path) == "permission-denied"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipe_put_in_place_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Swapped between the check and the opening: noticed on the open descriptor, without blocking."""
    path = tmp_path / "m.pt"
    path.write_bytes(b"x")
    honest = os.open

    def swap(name: object, flags: int) -> int:
        path.unlink()
        os.mkfifo(path)
        return honest(path, flags)

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(InputError) as caught:
        read_raw(path)
    assert caught.value.code == "not-a-file"


def test_file_that_grows_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import torch

    path = tmp_path / "m.pt"
    torch.save(good_state(), path)
    honest = os.fstat

    class Smaller:
        def __init__(self, result: os.stat_result) -> None:
            self.st_mode, self.st_size = result.st_mode, result.st_size - 1

    monkeypatch.setattr(os, "fstat", lambda fd: Smaller(honest(fd)))
    with pytest.raises(InputError) as caught:
        read_raw(path)
    assert caught.value.code == "changed-while-reading"


def test_hash_is_of_the_bytes_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The file is replaced as soon as its bytes are in memory: content and hash stay those of the old one."""
    import hashlib

    import numpy as np
    import torch

    from symdiag.formats.containers.torch import archive

    path = tmp_path / "m.pt"
    torch.save({"w": torch.zeros(2)}, path)
    old = path.read_bytes()
    honest = archive.matches

    def swap(*args: object) -> bool:
        torch.save({"w": torch.ones(2)}, path)
        return honest(*args)

    monkeypatch.setattr(archive, "matches", swap)
    raw = read_raw(path)
    assert raw.sha256 == hashlib.sha256(old).hexdigest()
    assert path.read_bytes() != old
    np.testing.assert_array_equal(raw.tree["w"], [0, 0])


@pytest.mark.parametrize(
    "limits",
    [
        Limits(max_file_bytes=100),
        Limits(max_pickle_bytes=100),
        Limits(max_pickle_ops=5),
        Limits(max_members=3),
        Limits(max_nodes=3),
        Limits(max_total_bytes=40),
    ],
    ids=repr,
)
def test_each_limit_holds(limits: Limits, tmp_path: Path):
    import torch

    torch.save(good_state(), tmp_path / "m.pt")
    with pytest.raises(InputError) as caught:
        read_raw(tmp_path / "m.pt", limits=limits)
    assert caught.value.code == "limit-exceeded"


def test_memory_stays_bounded(tmp_path: Path):
    """Bombs are refused inside 400 MB of address space beyond what the imports took."""
    bombs = [f for f in FAULTS if f.code == "limit-exceeded"]
    for i, fault in enumerate(bombs):
        (tmp_path / f"{i}{fault.suffix}").write_bytes(fault.content(tmp_path / "canary"))
    code = """
import pathlib, resource, sys, torch
from symdiag.errors import InputError
from symdiag.formats.reading import read_raw
pages = int(pathlib.Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (pages + (400 << 20),) * 2)
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        read_raw(path)
        print('read', path)
    except InputError as error:
        assert error.code == 'limit-exceeded' and 'memory to read' not in error.message, (path, error)
"""
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc")
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(bombs) > 5
