"""Each contender: point weights of a model and a reference in, the aligned model's weights out."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from symdiag.alignment import align
from symdiag.posterior import Posterior
from symdiag.symmetry.elements import Element, act, act_on_axis
from symdiag.symmetry.spec import PermutationSpec

Weights = dict[str, np.ndarray]
Contender = Callable[[nn.Module, nn.Module, Tensor, PermutationSpec], Weights]


def weights(module: nn.Module) -> Weights:
    """Parameters as numpy arrays, in the module's float32."""
    return {name: p.detach().numpy() for name, p in module.named_parameters()}


def symdiag_default(
    model: nn.Module, reference: nn.Module, example: Tensor, spec: PermutationSpec
) -> Weights:
    """``symdiag.align`` as it comes: restarts where cheap, with its certificate."""
    return _symdiag(model, reference, spec, restarts=None, certify=True)


def symdiag_search(
    model: nn.Module, reference: nn.Module, example: Tensor, spec: PermutationSpec
) -> Weights:
    """``symdiag.align`` with two descents (identity, signature) and no bounds."""
    return _symdiag(model, reference, spec, restarts=0, certify=False)


def _symdiag(
    model: nn.Module,
    reference: nn.Module,
    spec: PermutationSpec,
    *,
    restarts: int | None,
    certify: bool,
) -> Weights:
    sides = []
    for module in (model, reference):
        loc = {name: array.astype(np.float64) for name, array in weights(module).items()}
        sides.append(
            Posterior(loc, {name: np.broadcast_to(0.0, array.shape) for name, array in loc.items()})
        )
    return dict(align(*sides, spec, restarts=restarts, certify=certify).posterior.loc)


def git_rebasin(
    model: nn.Module, reference: nn.Module, example: Tensor, spec: PermutationSpec
) -> Weights:
    """Ainsworth et al. 2023, algorithm 1, in numpy: random group order, sweeps until none improves."""
    generator = np.random.default_rng(0)
    mine, theirs = weights(model), weights(reference)
    action = {group.name: Element.identity(group.width) for group in spec}
    members = {group.name: [m for m in group.members if m.tensor in mine] for group in spec}
    progress = True
    while progress:
        progress = False
        for index in generator.permutation(len(spec)):
            group = spec.groups[index]
            gain = np.zeros((group.width, group.width))
            for member in members[group.name]:
                moved = mine[member.tensor]
                for other in spec:
                    for m in members[other.name]:
                        if m.tensor == member.tensor and not (
                            other is group and m.axis == member.axis
                        ):
                            moved = act_on_axis(moved, m, action[other.name])
                rows = [
                    np.moveaxis(a, member.axis, 0).reshape(group.width, -1)
                    for a in (theirs[member.tensor], moved)
                ]
                gain += rows[0] @ rows[1].T
            units = np.arange(group.width)
            best = linear_sum_assignment(gain, maximize=True)[1]
            before, after = (
                gain[units, action[group.name].permutation].sum(),
                gain[units, best].sum(),
            )
            if after > before + 1e-6 * abs(before):
                action[group.name] = Element(best, np.ones(group.width))
                progress = True
    return {
        name: np.asarray(array, dtype=np.float64) for name, array in act(spec, action, mine).items()
    }


def rebasin_package(
    model: nn.Module, reference: nn.Module, example: Tensor, spec: PermutationSpec
) -> Weights:
    """The ``rebasin`` package from PyPI, which traces the module itself; its tracing is part of its time."""
    from rebasin import PermutationCoordinateDescent

    moved = copy.deepcopy(model)
    PermutationCoordinateDescent(reference, moved, example).rebasin()
    return {name: array.astype(np.float64) for name, array in weights(moved).items()}


CONTENDERS: dict[str, Contender] = {
    "symdiag": symdiag_default,
    "symdiag, no restarts, no certificate": symdiag_search,
    "git-re-basin descent (numpy)": git_rebasin,
    "rebasin 0.0.47": rebasin_package,
}
