"""``python -m benchmarks.alignment [NET ...]``: seconds and final distance of every contender, in one run.

Two problems per network: two unrelated random networks, and a noisy relabelled copy. Distances are squared
Euclidean over all parameters, computed here from what each tool returns, as a share of the distance before.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch

from benchmarks.alignment.contenders import CONTENDERS, Weights, weights
from benchmarks.alignment.nets import NETS, randomise
from symdiag.symmetry.elements import act, random_action
from symdiag.symmetry.spec import PermutationSpec
from symdiag.symmetry.tracing import trace_spec


def squared_distance(first: Weights, second: Weights) -> float:
    return float(sum(((first[n].astype(np.float64) - second[n]) ** 2).sum() for n in second))


def plant(reference: torch.nn.Module, spec: PermutationSpec, seed: int) -> torch.nn.Module:
    """A relabelled copy of ``reference``, its weights disturbed by noise of half their size."""
    generator = np.random.default_rng(seed)
    moved = act(spec, random_action(spec, generator), weights(reference))
    model = NETS[NET]()[0].eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = 0.5 * moved[name].std() * generator.standard_normal(moved[name].shape)
            parameter.copy_(torch.tensor(moved[name] + noise))
    return model


def compare(
    net: str,
    problem: str,
    model: torch.nn.Module,
    reference: torch.nn.Module,
    spec: PermutationSpec,
) -> None:
    example = NETS[net]()[1]
    before = squared_distance(weights(model), weights(reference))
    for name, contender in CONTENDERS.items():
        try:
            started = time.perf_counter()
            aligned = contender(model, reference, example, spec)
            seconds = time.perf_counter() - started
        except Exception as error:
            print(f"| {net} | {problem} | {name} | failed: {type(error).__name__} | |", flush=True)
            continue
        share = squared_distance(aligned, weights(reference)) / before
        print(f"| {net} | {problem} | {name} | {seconds:.2f} | {share:.5f} |", flush=True)


def spec_of(net: str) -> PermutationSpec:
    module, example = NETS[net]()
    return trace_spec(module.eval(), [example]).spec


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(
        "| network | problem | tool | seconds | distance, share of before |\n|---|---|---|---|---|"
    )
    for NET in sys.argv[1:] or NETS:
        SPEC = spec_of(NET)
        REFERENCE = randomise(NETS[NET]()[0], 0)
        compare(NET, "unrelated", randomise(NETS[NET]()[0], 1), REFERENCE, SPEC)
        compare(NET, "noisy copy", plant(REFERENCE, SPEC, 2), REFERENCE, SPEC)
