"""Specs and random posteriors for the alignment tests, and exhaustive search as the independent judge."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from symdiag.alignment.assignment import Assignment
from symdiag.posterior import Posterior
from symdiag.symmetry.elements import Element, act, random_action
from symdiag.symmetry.spec import Group, Member, PermutationSpec


def mlp_spec(
    widths: Sequence[int], *, signed: bool = False
) -> tuple[PermutationSpec, dict[str, tuple[int, ...]]]:
    """Spec and tensor shapes of an MLP with the given widths, input and output included."""
    groups, shapes = [], {}
    for layer in range(1, len(widths)):
        shapes[f"w{layer}"] = (widths[layer], widths[layer - 1])
        shapes[f"b{layer}"] = (widths[layer],)
        members = (Member(f"w{layer}", 0), Member(f"b{layer}", 0), Member(f"w{layer + 1}", 1))
        groups.append(Group(f"h{layer}", widths[layer], members, signed))
    return PermutationSpec(tuple(groups[:-1])), shapes


def residual_spec(d1: int, d2: int) -> tuple[PermutationSpec, dict[str, tuple[int, ...]]]:
    """Git Re-Basin issue 8: two residual blocks whose stream is one tied group."""
    stream = [
        ("din", 0),
        ("fc1", 1),
        ("fc2", 0),
        ("b2", 0),
        ("fc3", 1),
        ("fc4", 0),
        ("b4", 0),
        ("dout", 1),
    ]
    first, second = [("fc1", 0), ("b1", 0), ("fc2", 1)], [("fc3", 0), ("b3", 0), ("fc4", 1)]
    groups = tuple(
        Group(name, width, tuple(Member(t, axis) for t, axis in members))
        for name, width, members in (
            ("stream", d1, stream),
            ("inner1", d2, first),
            ("inner2", d2, second),
        )
    )
    shapes = {"fc1": (d2, d1), "fc2": (d1, d2), "fc3": (d2, d1), "fc4": (d1, d2)}
    shapes |= {
        "b1": (d2,),
        "b2": (d1,),
        "b3": (d2,),
        "b4": (d1,),
        "din": (d1, d1),
        "dout": (d1, d1),
    }
    return PermutationSpec(groups), shapes


def random_posterior(
    shapes: dict[str, tuple[int, ...]],
    generator: np.random.Generator,
    *,
    deterministic: bool = False,
) -> Posterior:
    """Standard normal means, log-normal stds (or none)."""
    loc = {name: generator.standard_normal(shape) for name, shape in shapes.items()}
    scale = {
        n: np.zeros(s) if deterministic else np.exp(0.5 * generator.standard_normal(s))
        for n, s in shapes.items()
    }
    return Posterior(loc, scale)


def planted(
    reference: Posterior, spec: PermutationSpec, generator: np.random.Generator, noise: float = 0.0
) -> tuple[Posterior, dict[str, Element]]:
    """The reference moved by a random action (means then perturbed), and the action that undoes it."""
    action = random_action(spec, generator)
    loc = {
        n: a + noise * generator.standard_normal(a.shape)
        for n, a in act(spec, action, reference.loc).items()
    }
    undo = {name: element.inverse() for name, element in action.items()}
    return Posterior(loc, dict(act(spec, action, reference.scale, flip=False))), undo


def every_state(problem: Assignment) -> itertools.product:
    """All states of a small problem."""
    return itertools.product(*([*_elements(g)] for g in problem.groups))


def _elements(group: Group):
    signs = [-1.0, 1.0] if group.signed else [1.0]
    for permutation in itertools.permutations(range(group.width)):
        for flips in itertools.product(signs, repeat=group.width):
            yield Element(np.array(permutation), np.array(flips))


def same_action(first: dict[str, Element], second: dict[str, Element]) -> bool:
    """Whether two actions agree in every permutation and sign."""
    return all(
        (first[n].permutation == second[n].permutation).all()
        and (first[n].signs == second[n].signs).all()
        for n in second
    )


def tanh_mlp(weights: dict[str, np.ndarray], inputs: np.ndarray, depth: int) -> np.ndarray:
    """Forward pass of ``mlp_spec`` networks."""
    hidden = inputs
    for layer in range(1, depth + 1):
        hidden = hidden @ weights[f"w{layer}"].T + weights[f"b{layer}"]
        hidden = np.tanh(hidden) if layer < depth else hidden
    return hidden
