"""An output is the old file or the new one, whatever goes wrong while it is written."""

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from symdiag.errors import OutputError
from symdiag.formats.atomic import atomic_write, replacing


def _code(path: Path, **kwargs: bool) -> str:
    with pytest.raises(OutputError) as caught:
        atomic_write(path, b"new", **kwargs)
    assert caught.value.hint
    return caught.value.code


def _race(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(b"ours")
        path.write_bytes(b"theirs")


def _interrupted(path: Path) -> None:
    with replacing(path, overwrite=True) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt


def test_writes_bytes_and_text(tmp_path: Path):
    atomic_write(tmp_path / "a", b"\x00\x01")
    atomic_write(tmp_path / "b", "σ\n")
    assert (tmp_path / "a").read_bytes() == b"\x00\x01"
    assert (tmp_path / "b").read_bytes() == "σ\n".encode()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_existing_file_needs_permission_to_overwrite(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"old")
    assert _code(tmp_path / "a") == "exists"
    assert (tmp_path / "a").read_bytes() == b"old"
    atomic_write(tmp_path / "a", b"new", overwrite=True)
    assert (tmp_path / "a").read_bytes() == b"new"


def test_file_that_appears_meanwhile_wins(tmp_path: Path):
    with pytest.raises(OutputError) as caught:
        _race(tmp_path / "a")
    assert caught.value.code == "exists"
    assert (tmp_path / "a").read_bytes() == b"theirs"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_file_that_appears_meanwhile_wins_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def unsupported(*_args: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", unsupported)
    with pytest.raises(OutputError):
        _race(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"theirs"
    atomic_write(tmp_path / "b", b"new")
    assert (tmp_path / "b").read_bytes() == b"new"


def test_failure_in_the_block_leaves_nothing(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        _interrupted(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_disk_that_fills_up_leaves_the_old_file(tmp_path: Path):
    """A real failed write: the process may not write files beyond 1000 bytes."""
    (tmp_path / "a").write_bytes(b"old")
    code = """
import resource, sys
from symdiag.errors import OutputError
from symdiag.formats.atomic import atomic_write
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    atomic_write(sys.argv[1], bytes(5000), overwrite=True)
except OutputError as error:
    print(error.code, error.message)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("write-failed cannot write")
    assert "too large" in done.stdout
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_no_space_at_the_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        atomic_write(tmp_path / "a", b"new", overwrite=True)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_bad_targets(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    assert _code(tmp_path) == "write-failed"
    assert _code(tmp_path / "no" / "such") == "write-failed"
    assert _code(tmp_path / "file" / "below") == "write-failed"
    assert _code(tmp_path / "a\0b") == "write-failed"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_device_is_an_error_and_stays_a_device():
    assert _code(Path("/dev/full")) == "write-failed"
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipe_is_written_to_not_replaced(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    atomic_write(tmp_path / "pipe", b"x" * 200_000)
    reader.join(timeout=10)
    assert got == [b"x" * 200_000]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="needs /dev/stdout")
def test_redirected_stdout_keeps_what_was_printed(tmp_path: Path):
    code = """
import sys
from symdiag.formats.atomic import atomic_write
print("before", flush=True)
atomic_write("/dev/stdout", "report\\n")
"""
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "before\nreport\n"


def test_longest_file_name(tmp_path: Path):
    name = "σ" * 127
    atomic_write(tmp_path / name, b"new")
    assert (tmp_path / name).read_bytes() == b"new"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes and links")
def test_mode_and_link_are_kept(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(0o640)
    (tmp_path / "link").symlink_to("a")
    atomic_write(tmp_path / "link", b"new", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_new_file_follows_the_umask(tmp_path: Path):
    old = os.umask(0o027)
    try:
        atomic_write(tmp_path / "a", b"new")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_killed_while_writing_leaves_the_old_file(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"old")
    code = """
import os, sys
from symdiag.formats.atomic import replacing
with replacing(sys.argv[1], overwrite=True) as temporary:
    temporary.write_bytes(b"half")
    os._exit(9)
"""
    assert (
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], check=False).returncode
        == 9
    )
    assert (tmp_path / "a").read_bytes() == b"old"
