"""``symdiag.doctor``: what is installed, what is missing, which threads and devices there are."""

from __future__ import annotations

import importlib
import os
import platform
import re
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from symdiag._version import __version__
from symdiag.report.kinds.doctor import Accelerator, Checkup, Package, PackageStatus, Threads

# Only the report and the standard library are imported here: a checkup has to come to its end
# where torch is broken or absent.

REQUIRED = {
    "numpy": ("1.26", "arrays"),
    "scipy": ("1.11", "assignments and special functions"),
    "torch": ("2.10", "forward passes, training, torch files"),
    "numba": ("0.61", "compiled permanents"),
    "safetensors": ("0.4.5", "safetensors files"),
    "typer": ("0.15", "the command line"),
    "rich": ("13.7", "the console"),
    "msgspec": ("0.19", "reports"),
    "matplotlib": ("3.8", "figures"),
}
"""Package → (oldest version that will do, what it is for); a test holds it to pyproject.toml."""

OPTIONAL = {
    "pandas": "report.to_dataframe(), parquet data",
    "pyarrow": "parquet data",
    "arviz": ".to_arviz(), InferenceData in memory",
    "h5py": "draws in netCDF files",
    "tensorboard": "--tensorboard, symdiag.integrations",
    "lightning": "symdiag.integrations: the callback",
    "wandb": "symdiag.integrations",
    "mlflow": "symdiag.integrations",
}
"""Package → what it is for. None of them is needed for a verdict."""

LIBRARIES = (
    "bayesian-torch", "blitz-bayesian-pytorch", "torchbnn", "torch-uncertainty", "torch-blue",
    "torchbayesian", "probly", "pyro-ppl", "tyxe", "laplace-torch", "ivon-opt", "posteriors",
    "numpyro",
)  # fmt: skip
"""Libraries whose posteriors are read; their files need none of them."""

_ALSO_KNOWN_AS = {"lightning": ("lightning", "pytorch-lightning")}
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS",
    "OMP_WAIT_POLICY",
)  # fmt: skip


def doctor() -> Checkup:
    """Look at the installation: packages and versions, threads, devices, what optional parts lack.

    Required packages are imported, so that one that is there but broken shows; optional ones are
    only looked up.

    Returns:
        The checkup; its ``problems`` say what keeps symdiag from working, if anything does.
    """
    started = time.time()
    required = tuple(_required(name, *about) for name, about in REQUIRED.items())
    problems = tuple(
        f"{p.name} {_state(p)}, symdiag needs at least {p.least}: {p.hint}"
        for p in required
        if p.status != "ok"
    )
    return Checkup(
        tool={"name": "symdiag", "version": __version__},
        python=platform.python_version(),
        executable=sys.executable,
        location=str(Path(__file__).resolve().parents[1]),
        platform=platform.platform(),
        required=required,
        optional=tuple(_optional(name, purpose) for name, purpose in OPTIONAL.items()),
        libraries=tuple(
            Package(name, found, None, "ok", "a library whose posteriors are read")
            for name in LIBRARIES
            if (found := _installed(name)) is not None
        ),
        threads=_threads(),
        devices=_devices(),
        problems=problems,
        verdict="not ready" if problems else "ready",
        run={"seconds": round(time.time() - started, 3)},
    )


def _state(package: Package) -> str:
    return {"missing": "is not installed", "broken": "does not load"}.get(
        package.status, f"is {package.version}"
    )


def _required(name: str, least: str, purpose: str) -> Package:
    found = _installed(name)
    module, why = _loaded(name)
    # metadata may be gone (a frozen application) where the module is there and knows its version
    found = found or getattr(module, "__version__", None)
    status: PackageStatus = "ok"
    hint = ""
    if module is None:
        status = "missing" if found is None else "broken"
        hint = f"pip install '{name}>={least}'" if found is None else f"importing it fails: {why}"
    elif found is not None and release(found) < release(least):
        status, hint = "too old", f"pip install '{name}>={least}'"
    return Package(name, found, least, status, purpose, hint)


def _optional(name: str, purpose: str) -> Package:
    known = (_installed(n) for n in _ALSO_KNOWN_AS.get(name, (name,)))
    found = next((version for version in known if version is not None), None)
    if found is None:
        return Package(name, None, None, "missing", purpose, f"pip install {name}")
    return Package(name, found, None, "ok", purpose)


def release(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with: ``2.13.0+cpu`` → (2, 13, 0)."""
    leading = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in leading[0].split(".")) if leading else ()


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _loaded(name: str) -> tuple[Any, str]:
    """The module, or None and why it does not load."""
    try:
        return importlib.import_module(name), ""
    # a broken shared library raises OSError, a clash of versions anything at all
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def _threads() -> Threads:
    torch, numba = _loaded("torch")[0], _loaded("numba")[0]
    cores = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    return Threads(
        cores=cores,
        usable=usable,
        torch=None if torch is None else torch.get_num_threads(),
        # get_num_threads would start numba's pool, which sets the number of torch's threads too
        numba=None if numba is None else numba.config.NUMBA_NUM_THREADS,
        environment={name: os.environ[name] for name in _THREAD_VARIABLES if name in os.environ},
    )


def _devices() -> tuple[Accelerator, ...]:
    torch = _loaded("torch")[0]
    if torch is None:
        return ()
    found = [Accelerator("cpu", platform.processor() or platform.machine(), None)]
    # asking for a device's properties on a machine without one raises
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        found.append(Accelerator(f"cuda:{index}", properties.name, properties.total_memory))
    return tuple(found)
