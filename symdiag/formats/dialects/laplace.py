"""laplace-torch: a flat ``mean`` and the curvature H; precision = H / (sigma_noise^2 temperature) +
prior precision.

H is (n,) for DiagLaplace, (n, n) for FullLaplace, and for KronLaplace a list of [A, B] per weight
(kron(A, B)) and [A] per bias. Shapes, and the layers a last-layer approximation leaves
deterministic, come from the model's own state dict (the companion) or from ``model_shapes``. The
prior is in the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from symdiag.arrays import Array, Arrays
from symdiag.errors import InputError, OutputError, UnsupportedError
from symdiag.formats.assemble import Draft, assemble, leftovers
from symdiag.formats.covariance import (
    DENSE_LIMIT,
    cholesky,
    inverse,
    is_as_read,
    kron_covariance,
    kron_factors,
    kron_log_det,
    kron_variances,
    log_det_of,
    model_shapes,
    split,
    with_covariance,
)
from symdiag.formats.fields import Field, check_finite, flat_slots, recovered, total_size, written
from symdiag.formats.interface import RawCheckpoint, ReadOptions, Tree, to_float64
from symdiag.formats.state_dict import find_state_dict, tidy
from symdiag.formats.transforms import precision
from symdiag.formats.tree import Path, replaced
from symdiag.posterior import Ignored, LaplaceTerms, Posterior
from symdiag.priors import GaussianPrior

_FILE, _MODEL = "file", "companion"
_INNER = "model"  # where a pickled object, read as its state dict, keeps its network
_TRANSFORM = "1/sqrt(H/(sigma_noise^2*temperature)+prior_precision)"


@dataclass(frozen=True)
class _State:
    """The numbers of a Laplace file: curvature H, its factor, and the prior precision per weight
    (n,).
    """

    structure: str
    curvature: Any
    factor: float
    deltas: Array
    companion: RawCheckpoint | None = None


class Laplace:
    """One file of numbers without names, and the model they belong to."""

    name = "laplace-torch"
    priority = 80

    def matches(self, raw: RawCheckpoint, arrays: Arrays) -> bool:
        """Whether the file is a Laplace state dict."""
        return (
            isinstance(raw.tree, Mapping)
            and {"mean", "H", "prior_precision", "cls_name"} <= raw.tree.keys()
        )

    def read(self, raw: RawCheckpoint, arrays: Arrays, options: ReadOptions) -> Posterior:
        """The posterior.

        Raises:
            UnsupportedError: ``needs-model-shapes``, or ``unsupported`` for a structure other than
                those three.
            InputError: ``companion-mismatch``, ``shape-mismatch``, ``non-finite``, ``bad-scale``.
        """
        mean = to_float64(raw.tree["mean"]).reshape(-1)
        check_finite(mean, "mean")
        given, inner = options.companion, raw.tree.get(_INNER)
        if given is None and isinstance(inner, Mapping):  # a pickled object holds its network
            options = replace(options, companion=replace(raw, tree=inner))
        model = options.companion.tree if options.companion else {}
        both = replace(raw, tree={_FILE: raw.tree, _MODEL: model})
        means, rest = _tensors(both, mean, options)
        shapes = {item.name: item.loc.shape for item in means}
        state = replace(_state(raw.tree, shapes), companion=given)
        done = {item.name: item for item in _with_scales(means, state)}
        fields = tuple(done.get(item.name, item) for item in rest.fields) or tuple(done.values())
        ignored = [
            Ignored(key, _why(key))
            for key in raw.tree
            if key not in ("mean", "H", "prior_precision", _INNER)
        ]
        draft = replace(rest, fields=fields, ignored=(*ignored, *rest.ignored), extra=state)
        posterior = assemble(
            both, self.name, replace(draft, prior=_prior(raw.tree, shapes, state.deltas))
        )
        spread = _spread(posterior, state)
        assert spread.source is not None
        terms = _terms(raw.tree, mean, list(shapes.values())[-1][0], state)
        return spread.replace(source=replace(spread.source, laplace=terms))

    def write(self, posterior: Posterior, raw: RawCheckpoint) -> Tree:
        """The Laplace file's tree with new mean and curvature; the companion is
        ``write_companion``.
        """
        assert posterior.source is not None
        tree = self._written(posterior)
        within = _INNER in raw.tree and posterior.source.template.extra.companion is None
        return {**tree[_FILE], _INNER: tree[_MODEL]} if within else tree[_FILE]

    def write_companion(self, posterior: Posterior) -> RawCheckpoint | None:
        """The model's state dict, whose weights are the means; None when the posterior was read
        without it.
        """
        assert posterior.source is not None
        companion: RawCheckpoint | None = posterior.source.template.extra.companion
        return companion and replace(companion, tree=self._written(posterior)[_MODEL])

    def _written(self, posterior: Posterior) -> Tree:
        assert posterior.source is not None
        template = posterior.source.template
        tree = written(posterior, template, template.raw.tree)
        return replaced(tree, _new_curvature(posterior, template.extra, tree[_FILE]["H"]))


def _why(key: str) -> str:
    other = "a setting or figure of the fit, not a weight"
    return "a batch of training data" if key == "data" else other


def _tensors(both: RawCheckpoint, mean: Array, options: ReadOptions) -> tuple[list[Field], Draft]:
    """The fields behind ``mean``, and the model they are in: all its tensors in order, its buffers,
    what it ignores.
    """
    path = (_FILE, "mean")
    if options.companion is None or options.model_shapes is not None:
        shapes = model_shapes(options, mean.size, "the Laplace mean")
        slots = flat_slots(path, {tidy(name): shape for name, shape in shapes.items()})
        return [Field(name, slot) for name, slot in slots.items()], Draft(())
    found = find_state_dict(options.companion.tree)
    paths = {key: (_MODEL, *place) for key, place in found.paths.items()}
    plain, buffers, ignored = leftovers(found.arrays, paths, ())
    chosen = _run(plain, both.tree, mean)
    slots = flat_slots(path, {item.name: item.loc.shape for item in chosen})
    fields = [Field(item.name, slots[item.name], loc_copies=(item.loc,)) for item in chosen]
    return fields, Draft(tuple(plain), buffers, (*ignored, *found.ignored))


def _run(plain: list[Field], tree: Tree, mean: Array) -> list[Field]:
    """The consecutive tensors of the model whose values are ``mean``: all of them, or the last
    layer's.
    """
    # a last-layer approximation covers a run of tensors; numbers, not names, say which
    for start in range(len(plain)):
        stop = start
        while (
            stop < len(plain)
            and total_size(item.loc.shape for item in plain[start:stop]) < mean.size
        ):
            stop += 1
        values = [to_float64(item.loc.get(tree)).reshape(-1) for item in plain[start:stop]]
        if (
            values
            and (flat := np.concatenate(values)).size == mean.size
            and np.allclose(flat, mean, rtol=1e-5, atol=1e-7)
        ):
            return plain[start:stop]
    raise InputError(
        f"no consecutive tensors of the companion hold the {mean.size} values of the Laplace mean",
        code="companion-mismatch",
        hint="give the state dict, saved with torch.save, of the very model the approximation was "
        "fitted to",
    )


def _state(tree: Tree, shapes: Mapping[str, tuple[int, ...]]) -> _State:
    """The file's numbers, checked. Raises UnsupportedError for an unknown structure."""
    kind = str(tree["cls_name"])
    structure = next(
        (
            name
            for name in ("Diag", "Full", "Kron")
            if kind in (f"{name}Laplace", f"{name}LLLaplace")
        ),
        None,
    )
    if structure is None:
        raise UnsupportedError(
            f"{kind} is not a Laplace approximation symdiag reads", hint="Diag, Full and Kron are"
        )
    size = total_size(shapes.values())
    stored = to_float64(np.asarray(tree["prior_precision"])).reshape(-1)
    check_finite(stored, "prior_precision")
    # one precision per tensor: laplace-torch's layerwise prior
    if stored.size == len(shapes):
        stored = np.repeat(stored, [int(np.prod(shape)) for shape in shapes.values()])
    if stored.size not in (1, size):
        raise InputError(
            f"prior_precision has {stored.size} entries for {size} weights", code="shape-mismatch"
        )
    wanted = {"Diag": (size,), "Full": (size, size)}.get(structure)
    if wanted and np.shape(tree["H"]) != wanted:
        raise InputError(
            f"H has shape {np.shape(tree['H'])}, {kind} of {size} weights has {wanted}",
            code="shape-mismatch",
        )
    if np.any(stored <= 0):
        raise InputError("prior_precision is not positive", code="bad-scale")
    noise = float(np.asarray(tree.get("sigma_noise", 1.0)).reshape(-1)[0])
    # the curvature is that of unit noise and temperature; both scale the likelihood, not the prior
    factor = 1.0 / (noise**2 * float(tree.get("temperature", 1.0)))
    return _State(structure, tree["H"], factor, np.broadcast_to(stored, (size,)))


def _with_scales(fields: list[Field], state: _State) -> list[Field]:
    """The fields with their stds' slots (diagonal H), or marked as jointly distributed."""
    if state.structure != "Diag":
        return [replace(item, joint=True) for item in fields]
    deltas = split(state.deltas, {item.name: item.loc.shape for item in fields})
    slots = flat_slots((_FILE, "H"), {item.name: item.loc.shape for item in fields})
    return [
        replace(
            item,
            scale=slots[item.name],
            transform=precision(state.factor, deltas[item.name], _TRANSFORM),
        )
        for item in fields
    ]


def _prior(tree: Tree, shapes: Mapping[str, tuple[int, ...]], deltas: Array) -> GaussianPrior:
    mean = to_float64(np.asarray(tree.get("prior_mean", 0.0))).reshape(-1)
    loc = split(np.broadcast_to(mean, deltas.shape), shapes)
    return GaussianPrior(loc, split(1.0 / np.sqrt(deltas), shapes))


def _spread(posterior: Posterior, state: _State) -> Posterior:
    """The posterior with marginals and covariance of a full or Kronecker curvature."""
    if state.structure == "Diag":
        return posterior
    assert posterior.source is not None
    names = [item.name for item in posterior.source.template.fields if item.joint]
    size = len(state.deltas)
    # the dense factor would be (D, D); marginals need only the Kronecker factors
    if state.structure == "Kron" and size > DENSE_LIMIT:
        shapes = {name: posterior.loc[name].shape for name in names}
        variances = np.concatenate([kron_variances(*block) for block in _blocks(state)])
        marginal = split(np.sqrt(variances), shapes)
        note = f"correlations between {size} weights left out: more than {DENSE_LIMIT}"
        source = replace(posterior.source, notes=(*posterior.source.notes, note))
        return posterior.replace(scale={**posterior.scale, **marginal}, source=source)
    if state.structure == "Full":
        curvature = to_float64(state.curvature)
        check_finite(curvature, "H")
        factor = cholesky(
            inverse(state.factor * curvature + np.diag(state.deltas), "the precision"),
            "the covariance",
        )
    else:
        parts = [cholesky(kron_covariance(*block), "the covariance") for block in _blocks(state)]
        factor = np.asarray(scipy.linalg.block_diag(*parts))
    return with_covariance(posterior, names, factor, np.zeros(size))


def _terms(tree: Tree, mean: Array, outputs: int, state: _State) -> LaplaceTerms:
    """The terms of log p(Y|X), as laplace-torch's ``log_marginal_likelihood`` adds them up.

    ``outputs``: rows of the last tensor, where the file is too old to hold ``n_outputs``.
    """
    if state.structure == "Kron":
        log_det = sum(kron_log_det(*block) for block in _blocks(state))
    else:
        curvature = state.factor * to_float64(state.curvature)
        full = state.structure == "Full"
        log_det = log_det_of(curvature + (np.diag(state.deltas) if full else state.deltas))
    prior_mean = to_float64(np.asarray(tree.get("prior_mean", 0.0))).reshape(-1)
    scatter = float((state.deltas * (mean - prior_mean) ** 2).sum())
    log_likelihood, missing = _log_likelihood(tree, outputs, state)
    return LaplaceTerms(
        log_likelihood, log_det - float(np.log(state.deltas).sum()), scatter, missing
    )


def _log_likelihood(tree: Tree, outputs: int, state: _State) -> tuple[float | None, str]:
    """log p(Y|X, mean) and "", or None and what the file lacks for it."""
    regression = str(tree.get("likelihood")).rpartition(".")[2].lower() == "regression"
    needed = ("loss", "likelihood", *(("n_data",) if regression else ()))
    lacking = [key for key in needed if tree.get(key) is None]
    if lacking:
        return None, f"the file does not hold {' and '.join(lacking)}"
    # the loss is a sum over data: half of the squared errors, or the cross entropy
    value = -state.factor * float(to_float64(np.asarray(tree["loss"])).reshape(-1)[0])
    if regression:
        noise = float(to_float64(np.asarray(tree.get("sigma_noise", 1.0))).reshape(-1)[0])
        count = int(tree["n_data"]) * int(tree.get("n_outputs") or outputs)
        value -= count * math.log(noise * math.sqrt(2.0 * math.pi))
    return value, ""


def _blocks(state: _State) -> list[tuple[list[Array], float, float]]:
    """Factors, scale and prior precision of each tensor's block."""
    blocks, start = [], 0
    for index, stored in enumerate(state.curvature):
        factors = [to_float64(np.asarray(factor)) for factor in stored]
        for factor in factors:
            check_finite(factor, f"H.{index}")
        size = int(np.prod([len(factor) for factor in factors]))
        blocks.append((factors, state.factor, float(state.deltas[start])))
        start += size
    if start != len(state.deltas):
        raise InputError(
            f"H covers {start} weights, the mean {len(state.deltas)}", code="shape-mismatch"
        )
    return blocks


def _new_curvature(posterior: Posterior, state: _State, stored: Any) -> dict[Path, NDArray[Any]]:
    """Path → new H for a changed covariance; nothing when it is as it was."""
    covariance = posterior.covariance
    if is_as_read(posterior):
        return {}
    if covariance is None:
        raise OutputError("the correlations the file holds were dropped", code="cannot-represent")
    matrix = covariance.factor @ covariance.factor.T + np.diag(covariance.diagonal)
    # precision = factor * H + diag(prior precision), solved for H
    curvature = (inverse(matrix, "the covariance") - np.diag(state.deltas)) / state.factor
    if state.structure == "Full":
        return {(_FILE, "H"): curvature.astype(stored.dtype)}
    changes: dict[Path, NDArray[Any]] = {}
    start = 0
    for index, (factors, _, _) in enumerate(_blocks(state)):
        stop = start + int(np.prod([len(factor) for factor in factors]))
        for j, new in enumerate(kron_factors(curvature[start:stop, start:stop], factors)):
            raw = stored[index][j]
            values = new if raw.ndim > 1 else np.diag(new)
            changes[_FILE, "H", index, j] = recovered(values, to_float64(raw), raw, values)
        start = stop
    return changes


DIALECT = Laplace()
