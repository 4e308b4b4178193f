"""Commands that a report suggests: what was given is given again, so that they run as printed.

What nobody has said yet stands in them as a placeholder in capitals, such as ``TRAIN.npz``.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from symdiag.errors import SymmetryError, UsageError
from symdiag.formats import file_of
from symdiag.options import declared
from symdiag.posterior import Posterior
from symdiag.symmetry.discovery import Symmetry
from symdiag.tasks.options import DataOptions, DiagnosisOptions, ReadingOptions
from symdiag.training.config import ModelConfig
from symdiag.training.prior import check_prior_invariance, resolve_prior

DATA, PRIOR_STD = "TRAIN.npz", "PRIOR_STD"
ACTIVATION, MODEL = "ACTIVATION", "MODULE:FACTORY"


def given_arguments(options: Any, leave_out: Sequence[str] = ()) -> tuple[str, ...]:
    """The command line's words for every field of an options dataclass that differs from its default."""
    words: list[str] = []
    for field in dataclasses.fields(options):
        value, option = getattr(options, field.name), declared(options.__class__).get(field.name)
        if option is None or field.name in leave_out or value == field.default:
            continue
        flag = next(iter(option[1].flags), f"--{field.name.replace('_', '-')}")
        words += [word for text in _texts(value) for word in (flag, *text)]
    return tuple(words)


def _texts(value: Any) -> list[list[str]]:
    """A value as the words behind its flag, once for each time the flag is given."""
    if value is True:
        return [[]]
    if isinstance(value, Mapping):
        return [[f"{k}={_numbers(v)}" if k else _numbers(v)] for k, v in value.items()]
    if isinstance(value, float) or _is_numbers(value):
        return [[_numbers(value)]]
    if isinstance(value, str | int | Path):
        return [[str(value)]]
    if isinstance(value, Sequence):
        return [[str(item)] for item in value if item is not None]
    return []  # an object that only Python can pass


def _is_numbers(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(v, int | float) for v in value)


def _numbers(value: Any) -> str:
    """A number, or those that one word holds with commas between them."""
    return ",".join(f"{v:g}" for v in value) if _is_numbers(value) else f"{value:g}"


def read_with(reading: ReadingOptions, position: int = 0) -> tuple[str, ...]:
    """How the file was read, to be said again; of several values the one at ``position``."""
    for name in ("companion", "member"):
        given = getattr(reading, name)
        if isinstance(given, Sequence) and not isinstance(given, str):
            reading = dataclasses.replace(reading, **{name: given[position]})
    return given_arguments(reading)


def analyze_command(
    posterior: Posterior, reading: ReadingOptions, diagnosis: DiagnosisOptions
) -> str:
    """The same analysis again; empty for a posterior that is in no file."""
    path = file_of(posterior)
    if path is None:
        return ""
    # A reference changes nothing about H, and --infonce only adds a figure.
    judged = given_arguments(diagnosis, leave_out=("reference", "infonce"))
    words = ("symdiag", "analyze", path, *read_with(reading), *judged)
    return shlex.join(words)


def retrain_command(
    posterior: Posterior,
    symmetry: Symmetry,
    reading: ReadingOptions,
    given: DataOptions,
    model: ModelConfig,
) -> str:
    """Retraining on the symmetrised objective; empty where ``retrain`` would refuse the posterior."""
    # What `retrain` would refuse must not be suggested.
    random = any((scale > 0).any() for scale in posterior.scale.values())
    path = file_of(posterior)
    if path is None or posterior.covariance is not None or not random:
        return ""
    data = given.data if isinstance(given.data, str | Path) else DATA
    words = ["symdiag", "retrain", path, *read_with(reading), *_missing_network(symmetry)]
    words += ["--data", str(data), *given_arguments(given, leave_out=("data",))]
    words += [*given_arguments(model), *_missing_prior(posterior, symmetry, model)]
    return shlex.join([*words, "-o", f"fixed{Path(path).suffix}"])


def prune_command(
    posterior: Posterior,
    symmetry: Symmetry,
    reading: ReadingOptions,
    given: DataOptions,
    model: ModelConfig,
) -> str:
    """Writing the narrower posterior; empty where ``prune`` would refuse the network or the file."""
    # An assumed chain may be another network: only the module settles that.
    known = symmetry.provenance.is_settled and symmetry.forward is not None
    is_chain = symmetry.chain is not None and reading.model is None
    if posterior.source is None or posterior.covariance is not None or not (known and is_chain):
        return ""
    path = posterior.source.path
    words = ["symdiag", "prune", path, *read_with(reading)]
    if isinstance(given.data, str | Path):
        words += [*given_arguments(given), *given_arguments(model)]
        words += _missing_prior(posterior, symmetry, model)
    return shlex.join([*words, "-o", f"small{Path(path).suffix}"])


def _missing_network(symmetry: Symmetry) -> list[str]:
    """What the outputs need and neither the file nor the call has said."""
    known = symmetry.provenance.is_settled and not symmetry.provenance.function
    if known and symmetry.forward is not None:
        return []
    is_chain = known and symmetry.network is not None and symmetry.activation is None
    return ["--activation", ACTIVATION] if is_chain else ["--model", MODEL]


def _missing_prior(posterior: Posterior, symmetry: Symmetry, model: ModelConfig) -> list[str]:
    try:
        prior = resolve_prior(posterior, model)
        check_prior_invariance(prior, symmetry.spec.restricted(posterior.loc))
    except (UsageError, SymmetryError):
        return [] if model.prior_by_name else ["--prior-std", PRIOR_STD]
    return []
