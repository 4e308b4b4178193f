"""The processes of a run: who does which share of the work, and how results come together.

Importing this loads no torch: one process alone needs none of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from symdiag.errors import SymdiagError

if TYPE_CHECKING:
    from torch import Tensor

Item = TypeVar("Item")
Result = TypeVar("Result")

LOST = "process-lost"
_LAUNCHED = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}  # what torchrun sets


@dataclass(frozen=True)
class Share:
    """One process's part of ``total`` draws: every ``world``-th of them, from ``rank`` on."""

    total: int
    rank: int = 0
    world: int = 1

    @property
    def picked(self) -> slice:
        """Picks this process's part from all of them."""
        return slice(self.rank, None, self.world)

    def here(self, count: int) -> int:
        """How many of the first ``count`` draws this process has."""
        return len(range(self.rank, count, self.world))

    def weight(self, count: int) -> float:
        """What the mean over this process's part of ``count`` draws is multiplied with.

        The mean of the products over processes then is the mean over all ``count`` draws.
        """
        return self.here(count) * self.world / count


@dataclass(frozen=True)
class Workers:
    """This process's place among ``world`` processes. Every method is called by all of them alike."""

    rank: int = 0
    world: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process writes files and reports (exactly one does)."""
        return self.rank == 0

    def share(self, total: int) -> Share:
        """This process's part of ``total`` draws; every process has one at least."""
        return Share(max(total, self.world), self.rank, self.world)

    def average_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Replace every gradient by its mean over processes, in one message."""
        if self.world == 1:
            return
        import torch
        from torch import distributed as dist

        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in gradients])
        with _connected():
            dist.all_reduce(flat)
        flat /= self.world
        for gradient, mean in zip(
            gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True
        ):
            gradient.copy_(mean.reshape(gradient.shape))

    def sum(self, values: Sequence[float]) -> tuple[float, ...]:
        """Each value added up over processes: the same numbers, to the bit, in all of them."""
        if self.world == 1:
            return tuple(values)
        import torch
        from torch import distributed as dist

        total = torch.tensor(values, dtype=torch.float64)
        with _connected():
            dist.all_reduce(total)
        return tuple(total.tolist())

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` holds in any process (so that all leave the loop together)."""
        return self.sum([float(flag)])[0] > 0.0

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """``function`` of every item, each by one process, and known to all of them afterwards."""
        found: list[Result | None] = [None] * len(items)
        own = [function(item) for item in items[self.rank :: self.world]]
        for rank, part in enumerate(self._gather(own)):
            found[rank :: self.world] = part
        return cast("list[Result]", found)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What fails in one process inside fails in all of them, by the same error.

        Without it, the others would wait for a message that never comes, or take the next one for
        it. To be left by every process before the next message of another purpose.
        """
        try:
            yield
        except _Elsewhere as failure:
            raise failure.error from None
        except Exception as error:
            if getattr(error, "code", "") != LOST:
                self._exchange(_Failed(_told(error)))
            raise
        try:
            self._gather(None)
        except _Elsewhere as failure:
            raise failure.error from None

    def _gather(self, value: Result) -> list[Result]:
        """The ``value`` of each process.

        Raises:
            _Elsewhere: Another process has failed.
        """
        parts = self._exchange(value)
        for part in parts:
            if isinstance(part, _Failed):
                raise _Elsewhere(part.error)
        return parts

    def _exchange(self, value: Any) -> list[Any]:
        if self.world == 1:
            return [value]
        from torch import distributed as dist

        parts: list[Any] = [None] * self.world
        with _connected():
            dist.all_gather_object(parts, value)
        return parts


@dataclass(frozen=True)
class _Failed:
    """Sent in place of a result."""

    error: SymdiagError


class _Elsewhere(Exception):
    """Another process has failed."""

    def __init__(self, error: SymdiagError) -> None:
        super().__init__(str(error))
        self.error = error


def _told(error: Exception) -> SymdiagError:
    """What the other processes are told: something that any of them can read."""
    if isinstance(error, SymdiagError):
        return error
    return SymdiagError(f"{type(error).__name__}: {error}", code="internal-error")


@contextmanager
def _connected() -> Iterator[None]:
    """What a broken connection means."""
    try:
        yield
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise SymdiagError(f"another process of this run has ended: {first}", code=LOST) from error


def is_first() -> bool:
    """Whether torchrun's variables name this the first process, or none of several."""
    return os.environ.get("RANK", "0") == "0" or os.environ.get("WORLD_SIZE", "1") == "1"


@contextmanager
def workers_from_environment() -> Iterator[Workers]:
    """Join the process group that torchrun's variables describe; a single process otherwise.

    Messages travel over gloo: they are one flat vector per step, on the CPU or the GPU.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1" or not os.environ.keys() >= _LAUNCHED:
        yield Workers()
        return
    from torch import distributed as dist

    try:
        dist.init_process_group("gloo")
    except (RuntimeError, ValueError) as error:
        raise SymdiagError(
            f"the processes of this run did not meet: {str(error).splitlines()[0]}",
            code=LOST,
            hint="to run alone inside a job of torchrun, unset WORLD_SIZE",
        ) from error
    try:
        yield Workers(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
