"""Hand-made reports for the tests of renderers and commands."""

import dataclasses

from symdiag.diagnostics.diagnosis import Cluster, Finding, GroupReport, NeuronInfo, Total
from symdiag.estimate import Bracket, Estimate
from symdiag.report import Report
from symdiag.report.kinds.analyze import ModelInfo, Settings
from symdiag.report.parts import LayerInfo, Uncovered

TOOL = {"name": "symdiag", "version": "0.1.0"}
VERDICTS = ("ok", "straddling", "inconclusive", "not-applicable")
HOSTILE = "[red]fc</td><script>alert(1)</script>\n::error::owned\x1b[31m\u202e|`*_&\"'"


def estimate(value, half_width=0.1, kind="exact", brackets=()):
    return Estimate(
        value,
        half_width / 2,
        value - half_width,
        value + half_width,
        "subset-dp",
        64,
        kind,
        brackets,
    )


def neuron(index, retention, collapsed=False, nearest=0):
    return NeuronInfo(
        index, retention, nearest, 1.25, collapsed, 0.31, -0.02, signal_in=2.5, signal_out=0.4
    )


def group(name="fc1", entropy=3.2, width=4):
    units = range(width)
    brackets = (
        Bracket("exact", entropy - 0.1, entropy + 0.1),
        Bracket("certified", 0.0, float("inf")),
    )
    return GroupReport(
        name=name,
        width=width,
        signed=False,
        log_order=6.58,
        straddling_entropy=estimate(entropy, brackets=brackets),
        mutual_information=estimate(6.58 - entropy),
        effective_modes=24.5,
        neurons=tuple(neuron(i, 0.2 + 0.2 * i, collapsed=i == 3) for i in range(width)),
        clusters=(Cluster((0, 1), False, 0.69), Cluster((2, 3), True, 0.42)),
        confusion=tuple(tuple(0.7 if i == j else 0.3 / (width - 1) for j in units) for i in units),
    )


def finding(**changes):
    base = Finding(
        code="SYM001",
        severity="warning",
        group="fc1",
        neurons=(0, 1),
        message="equivalent modes overlap",
        measured=3.2,
        threshold=1.0,
        hint="symdiag retrain model.pt --data train.npz -o fixed.pt",
    )
    return dataclasses.replace(base, **changes)


def report(verdict="straddling", path="model.pt", names=("fc1", "fc2"), findings=None):
    groups = tuple(group(name) for name in names)
    return Report(
        model=ModelInfo(
            path=path,
            sha256="0" * 64,
            format="torch-zip/blitz",
            parameters=120,
            covered_parameters=110,
            activation="relu",
            layers=tuple(LayerInfo(name, "linear", (4, 5)) for name in names),
            scale_transform="softplus",
            scale_range=(0.01, 0.9),
            uncovered=(Uncovered("out.bias", 10, "output units have fixed labels"),),
            ignored=(("fc1.eps", "noise buffer"),),
            assumptions=("layers form a chain in file order",),
        ),
        groups=groups,
        total=Total(13.2, estimate(6.4), estimate(6.8), 601.8),
        findings=(finding(),) if findings is None else findings,
        verdict=verdict,
        settings=Settings(0, 64, "layerwise", 1.0),
        tool=TOOL,
        run={"seconds": 0.5},
    )


def hostile_report():
    bad = finding(group=HOSTILE, message=HOSTILE, hint=HOSTILE, code="SYM001")
    made = report(path=HOSTILE, names=(HOSTILE, "fc2"), findings=(bad,))
    model = dataclasses.replace(
        made.model,
        activation=HOSTILE,
        format=HOSTILE,
        uncovered=(Uncovered(HOSTILE, 1, HOSTILE),),
        ignored=((HOSTILE, HOSTILE),),
        assumptions=(HOSTILE,),
    )
    return dataclasses.replace(made, model=model, test={HOSTILE: 1.0})


def wide_report():
    """A layer as wide as they come, with long numbers everywhere."""
    made = report()
    huge = estimate(14990.1234, 33.333, "expectation")
    groups = tuple(
        dataclasses.replace(
            g,
            name="encoder.layers.11.mlp.fc1",
            width=4096,
            signed=True,
            log_order=32817.2,
            straddling_entropy=huge,
            mutual_information=huge,
            effective_modes=None,
        )
        for g in made.groups
    )
    total = dataclasses.replace(
        made.total, straddling_entropy=huge, log_order=65634.4, effective_modes=None
    )
    return dataclasses.replace(made, groups=groups, total=total)
