"""``python -m benchmarks.alignment.bounds``: lower bounds as a share of the distance reached."""

from __future__ import annotations

import numpy as np

from symdiag.alignment.assignment import build_assignment
from symdiag.alignment.bounds import split_bound
from symdiag.alignment.costs import get_cost
from symdiag.alignment.descent import Solver
from symdiag.alignment.dual_ascent import dual_ascent_bound
from symdiag.alignment.search import Search
from symdiag.posterior import Posterior
from symdiag.symmetry.elements import act, random_action
from symdiag.symmetry.spec import Group, Member, PermutationSpec

CASES = ([1, 10, 10, 1], [1, 20, 20, 1], [3, 20, 20, 20, 1], [1, 40, 40, 1])


def case(widths, noise, seed=2):
    generator = np.random.default_rng(seed)
    shapes, groups = {}, []
    for layer in range(1, len(widths)):
        shapes |= {f"w{layer}": (widths[layer], widths[layer - 1]), f"b{layer}": (widths[layer],)}
        members = (Member(f"w{layer}", 0), Member(f"b{layer}", 0), Member(f"w{layer + 1}", 1))
        groups.append(Group(f"h{layer}", widths[layer], members))
    spec = PermutationSpec(tuple(groups[:-1]))
    zeros = {name: np.zeros(shape) for name, shape in shapes.items()}
    reference = {name: generator.standard_normal(shape) for name, shape in shapes.items()}
    moved = act(spec, random_action(spec, generator), reference)
    model = {
        name: array + noise * generator.standard_normal(array.shape)
        for name, array in moved.items()
    }
    return build_assignment(
        Posterior(model, zeros), Posterior(reference, zeros), spec, get_cost("w2")
    )


if __name__ == "__main__":
    print("| hidden layers | noise std | split bound | dual ascent |\n|---|---|---|---|")
    for widths in CASES:
        for noise in (0.3, 1.0, 3.0):
            problem = case(widths, noise)
            distance = Search(problem, 8, 0).run().distance
            solver = Solver(problem)
            shares = [
                bound / distance
                for bound in (split_bound(solver), dual_ascent_bound(solver, distance) or 0.0)
            ]
            print(
                f"| {', '.join(map(str, widths[1:-1]))} | {noise} | {shares[0]:.4f} | {shares[1]:.4f} |",
                flush=True,
            )
