"""Processes that share an analysis have, each of them, the result of one alone, to the bit.

Threads stand in for them here; tests/cli/test_analyze_processes.py starts real ones.
"""

import dataclasses
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from brute_force import mlp

from symdiag.diagnostics.diagnose import diagnose
from symdiag.errors import InputError, SymdiagError
from symdiag.estimators import estimate_straddling
from symdiag.estimators.importance import symmetrized_log_ratio
from symdiag.permanents import DEFAULT
from symdiag.workers import Workers


class Room:
    """Where the messages of one exchange lie until everyone has read them."""

    def __init__(self, world):
        self.messages, self.barrier = [None] * world, threading.Barrier(world, timeout=60)


@dataclasses.dataclass(frozen=True)
class Thread(Workers):
    """A process's place, held by a thread."""

    room: Room = None
    calls: list = dataclasses.field(default_factory=list)

    def map(self, function, items):
        self.calls.append(len(items))
        return super().map(function, items)

    def _exchange(self, value):
        self.room.messages[self.rank] = value
        self.room.barrier.wait()
        found = list(self.room.messages)
        self.room.barrier.wait()
        return found


def in_threads(world, work):
    """``work(workers)`` in every one of them: the results, and whether they raised."""
    room = Room(world)
    with ThreadPoolExecutor(world) as pool:
        running = [pool.submit(work, Thread(rank, world, room)) for rank in range(world)]
        return [future.exception() or future.result() for future in running]


CASES = {
    # sizes of a chain of layers, draws: several batches, the last of them short
    "one layer": ((2, 6, 1), 150),
    "coupled, with a joint sum": ((2, 3, 3, 1), 150),
    "coupled, decoded and bounded": ((2, 8, 7, 1), 66),
}


@pytest.mark.parametrize(
    ("case", "world"), [*((case, 2) for case in CASES), ("coupled, with a joint sum", 3)]
)
def test_every_process_has_the_estimate_of_one(case, world):
    sizes, samples = CASES[case]
    posterior, spec = mlp(sizes, seed=1, std=0.8)
    options = {
        "samples": samples,
        "seed": 3,
        "effort": dataclasses.replace(DEFAULT, particles=16, runs=2, max_exact=6),
    }
    expected = estimate_straddling(posterior, spec, **options)
    found = in_threads(
        world, lambda workers: estimate_straddling(posterior, spec, workers=workers, **options)
    )
    assert found == [expected] * world


def test_rounds_of_further_draws_are_planned_alike():
    posterior, spec = mlp((2, 7, 1), seed=2, std=0.6)
    options = {"precision": 0.05, "budget": 5.0}
    expected = estimate_straddling(posterior, spec, **options)
    found = in_threads(
        2, lambda workers: estimate_straddling(posterior, spec, workers=workers, **options)
    )
    assert found == [expected] * 2
    assert expected.samples > 256  # more than the pilot


def test_groups_are_diagnosed_by_different_processes():
    posterior, spec = mlp((2, 4, 3, 1), seed=1, std=0.8)
    straddling = estimate_straddling(posterior, spec, samples=8)

    def work(workers):
        found = diagnose(posterior, spec, straddling, seed=0, workers=workers)
        assert workers.calls == [2]
        return found

    expected = diagnose(posterior, spec, straddling, seed=0)
    assert in_threads(2, work) == [expected] * 2


@pytest.mark.parametrize("budget", [0.02, 10.0])
def test_log_ratios_end_where_the_budget_of_one_process_ends(budget):
    posterior, spec = mlp((2, 12, 1), seed=1, std=0.8)
    draws = posterior.sample(np.random.default_rng(0), 400)
    tensors = {name: torch.from_numpy(value) for name, value in draws.items()}

    def chunks():
        cuts = [0, 4, *range(36, 401, 32)]
        for start, stop in itertools.pairwise(cuts):
            yield {name: value[start:stop] for name, value in tensors.items()}

    def work(workers=None):
        return symmetrized_log_ratio(
            posterior, spec, chunks(), seed=0, budget=budget, workers=workers
        )

    expected, method = work()
    for found, found_method in in_threads(3, work):
        np.testing.assert_array_equal(found, expected)
        assert found_method == method


def test_an_error_of_one_process_is_everyones_and_the_next_work_goes_on():
    """Whatever the others are waiting for when it happens."""

    def work(workers):
        caught = []
        for failing in (0, 2, None):

            def step(item, failing=failing):
                if workers.rank == failing and item >= 2:
                    raise InputError(f"{workers.rank} cannot", code="bad-data")
                return 10 * item

            try:
                with workers.together():
                    first = workers.map(lambda item: item, range(5))
                    caught.append((first, workers.map(step, range(6))))
            except SymdiagError as error:
                caught.append((error.code, error.message))
        return caught

    expected = [
        ("bad-data", "0 cannot"),
        ("bad-data", "2 cannot"),
        ([0, 1, 2, 3, 4], [0, 10, 20, 30, 40, 50]),
    ]
    assert in_threads(3, work) == [expected] * 3


def test_an_error_after_the_last_message_is_everyones_too():
    def work(workers):
        with workers.together():
            if workers.rank == 1:
                raise MemoryError("too large")

    for error in in_threads(3, work):
        assert "too large" in str(error)
