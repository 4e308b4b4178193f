"""What a study is, and how its rows are kept: one JSON file each, resumable job by job."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from symdiag import __version__

HERE = Path(__file__).parent
RESULTS, FIGURES = HERE / "results", HERE / "figures"

Row = dict[str, Any]
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """One figure or table.

    ``jobs(settings)`` lists independent pieces of work as JSON-able dicts; ``run(job, settings)`` gives their rows;
    ``summarise(rows)`` the numbers that the docs quote; ``draw(rows, summary, folder)`` the figures.
    """

    name: str
    settings: Settings
    quick: Settings
    jobs: Callable[[Settings], list[Row]]
    run: Callable[[Row, Settings], list[Row]]
    summarise: Callable[[list[Row]], Row]
    draw: Callable[[list[Row], Row, Path], None]


@dataclass
class Store:
    """Rows of one study on disk; rewritten atomically after every job."""

    path: Path
    study: str
    settings: Row
    jobs: list[Row] = field(default_factory=list)  # {"job", "seconds", "rows"}
    summary: Row = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, study: str, settings: Settings, *, fresh: bool = False) -> Store:
        """What is on disk if it was made with the same settings, else nothing."""
        store = cls(path, study, _plain(settings))
        if path.exists() and not fresh:
            old = json.loads(path.read_text())
            if old["settings"] == store.settings:
                store.jobs, store.summary = old["jobs"], old["summary"]
        return store

    @property
    def rows(self) -> list[Row]:
        """All rows of all jobs, in order."""
        return [row for job in self.jobs for row in job["rows"]]

    def has(self, job: Row) -> bool:
        """Whether the job is done."""
        return any(done["job"] == _plain(job) for done in self.jobs)

    def add(self, job: Row, rows: list[Row], seconds: float) -> None:
        """Keep a job's rows."""
        self.jobs.append({"job": _plain(job), "seconds": round(seconds, 2), "rows": _plain(rows)})
        self.save()

    def save(self) -> None:
        """Write everything; one row per line, so that differences can be read."""
        jobs = ",\n".join(
            f'{{"job": {json.dumps(j["job"])}, "seconds": {j["seconds"]}, "rows": [\n'
            + ",\n".join(json.dumps(r) for r in j["rows"])
            + "\n]}"
            for j in self.jobs
        )
        head = {
            "study": self.study,
            "settings": self.settings,
            "summary": _plain(self.summary),
            "run": _environment(),
        }
        lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items())
        part = self.path.with_suffix(".part")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(f'{{{lines},\n"jobs": [\n{jobs}\n]}}\n')
        part.replace(self.path)


def execute(
    study: Study,
    *,
    quick: bool = False,
    fresh: bool = False,
    only_figures: bool = False,
    workers: int = 1,
    results: Path = RESULTS,
    figures: Path = FIGURES,
    say: Callable[[str], None] = print,
) -> Store:
    """Run what is missing of a study, then summarise and draw it."""
    settings = study.quick if quick else study.settings
    store = Store.open(results / f"{study.name}.json", study.name, settings, fresh=fresh)
    if not only_figures:
        _run_missing(study, settings, store, workers, say)
    store.summary = study.summarise(store.rows)
    if not only_figures:
        store.save()
    figures.mkdir(parents=True, exist_ok=True)
    study.draw(store.rows, store.summary, figures)
    return store


def _run_missing(
    study: Study, settings: Settings, store: Store, workers: int, say: Callable[[str], None]
) -> None:
    jobs = study.jobs(settings)
    missing = [job for job in jobs if not store.has(job)]
    for number, (job, (rows, seconds)) in enumerate(
        _outcomes(study, settings, missing, workers), 1
    ):
        store.add(job, rows, seconds)
        say(f"{study.name} {number}/{len(missing)} {json.dumps(job)} {seconds:.1f} s")
    rank = {json.dumps(_plain(job)): k for k, job in enumerate(jobs)}
    store.jobs.sort(key=lambda done: rank[json.dumps(done["job"])])


def _outcomes(
    study: Study, settings: Settings, jobs: list[Row], workers: int
) -> Iterator[tuple[Row, tuple[list[Row], float]]]:
    """(job, (rows, CPU seconds)) as they finish."""
    if workers == 1:
        for job in jobs:
            yield job, _timed(study, job, settings)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        running = {pool.submit(_timed_by_name, study.name, job, settings): job for job in jobs}
        for future in as_completed(running):
            yield running[future], future.result()


def _timed(study: Study, job: Row, settings: Settings) -> tuple[list[Row], float]:
    began = time.process_time()
    return study.run(job, settings), time.process_time() - began


def _timed_by_name(name: str, job: Row, settings: Settings) -> tuple[list[Row], float]:
    torch.set_num_threads(1)
    return _timed(importlib.import_module(f"benchmarks.paper.{name}").STUDY, job, settings)


def _plain(value: Any) -> Any:
    """JSON types only; floats rounded to 6 significant digits, non-finite ones null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(v) for v in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def _environment() -> Row:
    return {
        "symdiag": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }
