"""The prior: the checkpoint's or the options', and whether the group leaves it alone."""

from __future__ import annotations

from collections.abc import Container, Mapping

import numpy as np

from symdiag.arrays import Array
from symdiag.errors import SymmetryError, UsageError
from symdiag.posterior import Posterior
from symdiag.priors import Components, GaussianPrior, Prior, ScaleMixturePrior
from symdiag.symmetry.elements import act, random_action
from symdiag.symmetry.spec import PermutationSpec
from symdiag.training.config import ModelConfig, Triple
from symdiag.training.randomness import generator_for


def resolve_prior(
    posterior: Posterior, model: ModelConfig, leave_out: Container[str] = ()
) -> Prior:
    """Per tensor: its own option, else the one for all, else what the checkpoint stores.

    Tensors of ``leave_out`` get none: they are no weights of the network.

    Raises:
        UsageError: ``prior-unknown`` when a tensor has none of the three, ``bad-option`` for a name
            that is no tensor and no layer.
    """
    _check_names(posterior, model)
    loc: dict[str, Array] = {}
    scale: dict[str, Array] = {}
    mixed: dict[str, Components] = {}
    mixtures, gaussian = _stored(posterior)
    for name, shape in posterior.shapes.items():
        if name in leave_out:
            continue
        given = _option(name, model)
        components = mixtures.get(name, ()) if given is None else _components(given)
        if len(components) > 1:
            mixed[name] = components
        elif components:
            loc[name], scale[name] = np.zeros(shape), np.full(shape, components[0][1])
        elif name in gaussian.names:
            loc[name] = np.broadcast_to(gaussian.loc[name], shape).astype(np.float64)
            scale[name] = np.broadcast_to(gaussian.scale[name], shape).astype(np.float64)
        else:
            raise UsageError(
                f"the checkpoint does not say what the prior of {name} is",
                code="prior-unknown",
                hint="Give its standard deviation, for example --prior-std 1.0.",
            )
    rest = GaussianPrior(loc, scale)
    return ScaleMixturePrior(mixed, rest) if mixed else rest


def _stored(posterior: Posterior) -> tuple[Mapping[str, Components], GaussianPrior]:
    """Mixtures and Gaussians that the checkpoint holds."""
    prior = posterior.prior
    if isinstance(prior, ScaleMixturePrior):
        return prior.components, prior.others
    return {}, prior if isinstance(prior, GaussianPrior) else GaussianPrior({}, {})


def _components(given: float | Triple) -> Components:
    """Those that have any weight; one is a Gaussian."""
    if isinstance(given, int | float):
        return ((1.0, float(given)),)
    weight, first, second = given
    return tuple((w, s) for w, s in ((weight, first), (1.0 - weight, second)) if w > 0)


def _option(name: str, model: ModelConfig) -> float | Triple | None:
    """The most specific option: the tensor's name, its longest dotted prefix, the empty name."""
    given, candidate = model.prior_by_name, name
    while candidate and candidate not in given:
        candidate = candidate.rpartition(".")[0]
    return given.get(candidate)


def _check_names(posterior: Posterior, model: ModelConfig) -> None:
    for wanted, given in model.prior_by_name.items():
        flag = "--prior-std" if isinstance(given, int | float) else "--prior-mixture"
        if not wanted:
            continue
        if not any(name == wanted or name.startswith(f"{wanted}.") for name in posterior.names):
            raise UsageError(
                f"{flag} names '{wanted}', which is no tensor and no layer",
                code="bad-option",
                hint=f"Tensors: {', '.join(posterior.names[:12])}.",
            )


def check_prior_invariance(prior: Prior, spec: PermutationSpec) -> None:
    """Raise SymmetryError (``prior-not-invariant``) unless the group leaves the prior as it is.

    log|G| may be added to a bound on the evidence only then (docs/theory/symmetry.md).
    """
    generator = generator_for(0, "initial")
    # What leaves the prior alone is a subgroup: a proper one holds at most half of the
    # group, so a violation escapes three uniform elements with probability 1/8 at most.
    for _ in range(3):
        action = random_action(spec, generator)
        for arrays, flip in prior.arrays():
            moved = act(spec, action, arrays, flip=flip)
            for name in arrays:
                if not np.allclose(moved[name], arrays[name]):
                    raise SymmetryError(
                        f"the prior of {name} differs between interchangeable units: no symmetry",
                        code="prior-not-invariant",
                        hint="Give one prior for all units with --prior-std.",
                    )
