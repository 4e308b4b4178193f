"""Ready with everything there, and an installation with every kind of fault."""

import dataclasses

from report_examples import HOSTILE, TOOL

from symdiag.report.kinds.doctor import Accelerator, Checkup, Package, Threads

_READY = Checkup(
    python="3.11.7",
    executable="/venv/bin/python",
    location="/venv/lib/symdiag",
    platform="Linux",
    required=(Package("torch", "2.13.0", "2.10", "ok", "forward passes"),),
    optional=(Package("pandas", "3.1.1", None, "ok", "tables"),),
    libraries=(Package("blitz-bayesian-pytorch", "0.2.8", None, "ok", "a library"),),
    threads=Threads(8, 2, 2, 2, {"OMP_NUM_THREADS": "2"}),
    devices=(Accelerator("cpu", "x86_64", None), Accelerator("cuda:0", "H100", 80 * 2**30)),
    problems=(),
    verdict="ready",
    tool=TOOL,
)
EXAMPLES = (
    _READY,
    dataclasses.replace(
        _READY,
        executable=HOSTILE,
        required=(
            Package("torch", "2.1.0", "2.10", "too old", "forward passes", "pip install torch"),
            Package("numba", "0.68", "0.61", "broken", "loops", HOSTILE),
            Package("scipy", None, "1.11", "missing", "assignments", "pip install scipy"),
        ),
        optional=(Package("pandas", None, None, "missing", "tables", "pip install pandas"),),
        libraries=(),
        threads=Threads(1, 1, None, None),
        devices=(),
        problems=(f"numba does not load, symdiag needs at least 0.61: {HOSTILE}",),
        verdict="not ready",
    ),
)
