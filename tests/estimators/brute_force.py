"""Independent answers: every group element enumerated, densities by scipy."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
from scipy.special import logsumexp
from scipy.stats import norm

from symdiag.posterior import Posterior
from symdiag.symmetry.elements import Element, act
from symdiag.symmetry.spec import Group, Member, PermutationSpec


def elements(group: Group) -> Iterator[Element]:
    """All n! (or 2^n n!) elements."""
    for permutation in itertools.permutations(range(group.width)):
        signs = (
            itertools.product((1.0, -1.0), repeat=group.width)
            if group.signed
            else [(1.0,) * group.width]
        )
        for flips in signs:
            yield Element(np.array(permutation), np.array(flips))


def log_density(posterior: Posterior, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    """log q(ω) by scipy, over any leading axes; −inf where a deterministic weight is off its value."""
    total = np.zeros(())
    for name, value in weights.items():
        loc, scale = posterior.loc[name], posterior.scale[name]
        random = scale > 0
        total = total + norm.logpdf(value[..., random], loc[random], scale[random]).sum(-1)
        moved = (value[..., ~random] != loc[~random]).any(-1)
        total = np.where(moved, -np.inf, total)
    return total


def straddling_of(
    posterior: Posterior, spec: PermutationSpec, draw: Mapping[str, np.ndarray]
) -> float:
    """log Σ_g q(g⁻¹ω)/q(ω) for one draw, all groups of ``spec`` jointly."""
    names = [g.name for g in spec]
    actions = itertools.product(*(list(elements(g)) for g in spec))
    moved = [act(spec, dict(zip(names, action, strict=True)), draw) for action in actions]
    values = log_density(posterior, {n: np.stack([m[n] for m in moved]) for n in draw})
    return float(logsumexp(values) - log_density(posterior, draw))


def mlp(
    sizes: tuple[int, ...],
    seed: int,
    *,
    spread: float = 1.0,
    std: float = 0.5,
    signed: bool = False,
) -> tuple[Posterior, PermutationSpec]:
    """A random mean-field MLP posterior and its spec."""
    rng = np.random.default_rng(seed)
    loc: dict[str, np.ndarray] = {}
    groups = []
    for k, (i, o) in enumerate(itertools.pairwise(sizes)):
        loc[f"l{k}.weight"] = spread * rng.normal(size=(o, i))
        loc[f"l{k}.bias"] = spread * rng.normal(size=o)
        if k < len(sizes) - 2:
            members = (
                Member(f"l{k}.weight", 0),
                Member(f"l{k}.bias", 0),
                Member(f"l{k + 1}.weight", 1),
            )
            groups.append(Group(f"l{k}", o, members, signed))
    scale = {n: std * np.exp(0.5 * rng.normal(size=v.shape)) for n, v in loc.items()}
    return Posterior(loc, scale), PermutationSpec(tuple(groups))


def one_draw(posterior: Posterior, seed: int) -> dict[str, np.ndarray]:
    """A single weight draw."""
    return {n: v[0] for n, v in posterior.sample(np.random.default_rng(seed), 1).items()}
