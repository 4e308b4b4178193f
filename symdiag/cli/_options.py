"""Options that several commands share, each with its environment variable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from symdiag.objectives.likelihoods import likelihood_names
from symdiag.objectives.terms import objective_names
from symdiag.report.renderers import format_names

LIKELIHOODS = f"{', '.join(likelihood_names())}."
OBJECTIVES = f"{', '.join(objective_names())}."


def _formats(incomplete: str) -> list[str]:
    return [name for name in format_names() if name.startswith(incomplete)]


Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        envvar="SYMDIAG_FORMAT",
        autocompletion=_formats,
        metavar="FORMAT",
        help=f"On stdout: {', '.join(format_names())}. Console on a terminal, else text.",
    ),
]
Output = Annotated[
    list[str] | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Also write FILE or FORMAT=FILE; repeatable."
    ),
]
Color = Annotated[
    str,
    typer.Option("--color", envvar="SYMDIAG_COLOR", metavar="WHEN", help="auto, always or never."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="The verdict and errors only.")]
Verbose = Annotated[
    int, typer.Option("--verbose", "-v", count=True, help="More detail; -vv adds debug logs.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Seed = Annotated[
    int, typer.Option("--seed", envvar="SYMDIAG_SEED", min=0, help="Seed of the weight draws.")
]
Samples = Annotated[
    int | None,
    typer.Option(
        "--samples",
        envvar="SYMDIAG_SAMPLES",
        min=1,
        help="Weight draws. Default: as --precision needs.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device", envvar="SYMDIAG_DEVICE", help="cpu, cuda or cuda:N. Draws are made on the CPU."
    ),
]
Activation = Annotated[
    str | None,
    typer.Option(
        "--activation",
        envvar="SYMDIAG_ACTIVATION",
        help="Hidden activation, such as relu or tanh. Odd ones add sign flips; unknown: permutations only.",
    ),
]
ScaleTransform = Annotated[
    str | None,
    typer.Option(
        "--scale-transform",
        envvar="SYMDIAG_SCALE_TRANSFORM",
        help="What an ambiguous scale parameter means: softplus, exp, identity, exp-half or sqrt.",
    ),
]
Companion = Annotated[
    Path | None, typer.Option("--companion", help="Second file that some libraries need.")
]
Companions = Annotated[
    list[Path] | None,
    typer.Option(
        "--companion", help="Second file that some libraries need: once, or once per checkpoint."
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="MODULE:FACTORY", help="Your model, to trace. This runs your code."
    ),
]
Spec = Annotated[Path | None, typer.Option("--spec", help="Hand-written permutation spec (TOML).")]
MaxStraddling = Annotated[
    float,
    typer.Option(
        "--max-straddling",
        envvar="SYMDIAG_MAX_STRADDLING",
        min=0,
        help="Limit on the total H(g|w), nats.",
    ),
]
Precision = Annotated[
    float | None,
    typer.Option(
        "--precision",
        envvar="SYMDIAG_PRECISION",
        min=1e-9,
        help="Target error, nats. Default: 0.05 + 1 %.",
    ),
]
Budget = Annotated[
    float | None,
    typer.Option(
        "--budget", envvar="SYMDIAG_BUDGET", min=1e-9, help="Nominal seconds to spend. Default: 5."
    ),
]
ExitZero = Annotated[
    bool, typer.Option("--exit-zero", envvar="SYMDIAG_EXIT_ZERO", help="A finding exits 0, not 1.")
]
Strict = Annotated[
    bool, typer.Option("--strict", envvar="SYMDIAG_STRICT", help="An inconclusive verdict exits 1.")
]
