"""The prior: the checkpoint's or the options', and whether the group leaves it alone."""

from __future__ import annotations

from collections.abc import Container

import numpy as np

from symdiag.arrays import Array
from symdiag.errors import SymmetryError, UsageError
from symdiag.posterior import GaussianPrior, Posterior
from symdiag.symmetry.elements import act, random_action
from symdiag.symmetry.spec import PermutationSpec
from symdiag.training.config import ModelConfig
from symdiag.training.randomness import generator_for


def resolve_prior(
    posterior: Posterior, model: ModelConfig, leave_out: Container[str] = ()
) -> GaussianPrior:
    """Per tensor: its own option, else ``--prior-std``, else what the checkpoint stores.

    Tensors of ``leave_out`` get none: they are no weights of the network.

    Raises:
        UsageError: ``prior-unknown`` when a tensor has none of the three, ``bad-option`` for a name
            that is no tensor and no layer.
    """
    _check_names(posterior, model)
    loc: dict[str, Array] = {}
    scale: dict[str, Array] = {}
    for name, shape in posterior.shapes.items():
        if name in leave_out:
            continue
        std = _option(name, model)
        stored = posterior.prior
        if std is not None:
            loc[name], scale[name] = np.zeros(shape), np.full(shape, std)
        elif stored is not None and name in stored.loc:
            loc[name] = np.broadcast_to(stored.loc[name], shape).astype(np.float64)
            scale[name] = np.broadcast_to(stored.scale[name], shape).astype(np.float64)
        else:
            raise UsageError(
                f"the checkpoint does not say what the prior of {name} is",
                code="prior-unknown",
                hint="Give its standard deviation, for example --prior-std 1.0.",
            )
    return GaussianPrior(loc, scale)


def _option(name: str, model: ModelConfig) -> float | None:
    """The most specific option: the tensor's name, its longest dotted prefix, the empty name."""
    given, candidate = model.prior_by_name, name
    while candidate and candidate not in given:
        candidate = candidate.rpartition(".")[0]
    return given.get(candidate)


def _check_names(posterior: Posterior, model: ModelConfig) -> None:
    for wanted in filter(None, model.prior_by_name):
        if not any(name == wanted or name.startswith(f"{wanted}.") for name in posterior.names):
            raise UsageError(
                f"--prior-std names '{wanted}', which is no tensor and no layer",
                code="bad-option",
                hint=f"Tensors: {', '.join(posterior.names[:12])}.",
            )


def check_prior_invariance(prior: GaussianPrior, spec: PermutationSpec) -> None:
    """Raise SymmetryError (``prior-not-invariant``) unless the group leaves the prior as it is.

    log|G| may be added to a bound on the evidence only then (docs/theory/symmetry.md).
    """
    generator = generator_for(0, "initial")
    # What leaves the prior alone is a subgroup: a proper one holds at most half of the
    # group, so a violation escapes three uniform elements with probability 1/8 at most.
    for _ in range(3):
        action = random_action(spec, generator)
        moved_loc, moved_scale = (
            act(spec, action, prior.loc),
            act(spec, action, prior.scale, flip=False),
        )
        for name in prior.loc:
            same = np.allclose(moved_loc[name], prior.loc[name]) and np.allclose(
                moved_scale[name], prior.scale[name]
            )
            if not same:
                raise SymmetryError(
                    f"the prior of {name} differs between interchangeable units: no symmetry",
                    code="prior-not-invariant",
                    hint="Give one prior for all units with --prior-std.",
                )
