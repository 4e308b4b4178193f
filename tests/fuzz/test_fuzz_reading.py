"""Random damage to good files ends in a refusal or a sound posterior, never in any other exception."""

import faulthandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mutations import mutated, seeds

from symdiag.errors import SymdiagError
from symdiag.formats import interpret
from symdiag.formats.interface import RawCheckpoint
from symdiag.formats.reading import read_header, read_raw
from symdiag.formats.tree import leaves

SEEDS = seeds()
HANG_SECONDS = 60


def _check_raw(raw: RawCheckpoint) -> None:
    for key, leaf in leaves(raw.tree):
        assert leaf is None or isinstance(leaf, (np.ndarray, int, float, str, bytes, complex)), (
            key,
            type(leaf),
        )
        if isinstance(leaf, np.ndarray):
            assert leaf.dtype.kind in "biufc"


def _check_posterior(posterior: Any) -> None:
    for name in posterior.names:
        assert np.isfinite(posterior.loc[name]).all()
        assert np.isfinite(posterior.scale[name]).all()
        assert (posterior.scale[name] >= 0).all()


def _check_refusal(error: SymdiagError) -> None:
    assert error.hint
    assert "\n" not in error.message


def _header_agrees(path: Path, raw: RawCheckpoint) -> None:
    _, entries, _ = read_header(path)
    shapes = {key: leaf.shape for key, leaf in leaves(raw.tree) if isinstance(leaf, np.ndarray)}
    found = {entry.key: entry.shape for entry in entries if not entry.dtype.startswith("str")}
    assert found == shapes


def _try(path: Path) -> str:
    """What became of one file: the refusal's code, or how far it got."""
    try:
        raw = read_raw(path)
    except SymdiagError as error:
        _check_refusal(error)
        return error.code
    _check_raw(raw)
    _header_agrees(path, raw)
    try:
        posterior = interpret(raw)
    except SymdiagError as error:
        _check_refusal(error)
        return f"read, then {error.code}"
    _check_posterior(posterior)
    return "posterior"


def _fuzz(count: int, seed: int, folder: Path) -> dict[str, int]:
    rng = np.random.default_rng(seed)
    outcomes: dict[str, int] = {}
    path = folder / "mutant"
    for i in range(count):
        name = sorted(SEEDS)[i % len(SEEDS)]
        path.write_bytes(mutated(SEEDS[name], rng))
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        try:
            outcome = _try(path)
        except BaseException as error:
            kept = folder / f"failing-{seed}-{i}-{name}"
            path.rename(kept)
            raise AssertionError(f"{kept}: {error!r}") from error
        finally:
            faulthandler.cancel_dump_traceback_later()
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert not [p for p in folder.iterdir() if p != path]
    return outcomes


@pytest.mark.parametrize("name", sorted(SEEDS))
def test_seed_files_load(name: str, tmp_path: Path):
    (tmp_path / "m").write_bytes(SEEDS[name])
    _check_raw(read_raw(tmp_path / "m"))


def test_a_few_hundred_mutants(tmp_path: Path):
    outcomes = _fuzz(500, 0, tmp_path)
    assert len(outcomes) > 8  # the damage reaches many different checks


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_twenty_thousand_mutants(seed: int, tmp_path: Path):
    outcomes = _fuzz(4_000, seed, tmp_path)
    assert sum(outcomes.values()) == 4_000
    assert outcomes.keys() >= {
        "corrupt",
        "ambiguous-archive",
        "malformed-header",
        "unsafe-checkpoint",
        "posterior",
    }
