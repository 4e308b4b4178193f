"""What ``retrain`` did: before, control and retrained side by side."""

from __future__ import annotations

from symdiag.estimate import Estimate
from symdiag.report.document import Check, Column, Document, Facts, Paragraph, Section, Table, Tone
from symdiag.report.kinds.retrain import Change, Figures, RetrainReport, RunKind
from symdiag.report.text import amount, number

_TONES: dict[str, Tone] = {
    "improved": "good",
    "evidence up, predictions worse": "bad",
    "no measurable benefit": "muted",
    "worse": "bad",
    "nothing to gain": "muted",
}
_WORSE = ("worse", "evidence up, predictions worse")
_LABELS = {
    "elbo": "ELBO L",
    "symmetrized": "symmetrised ELBO L^G",
    "straddling_entropy": "straddling entropy H(g|ω)",
    "log_likelihood": "expected log-likelihood",
    "kl": "KL(q || prior)",
    "active_units": "active neurons",
    "test_nll": "test NLL per point",
    "rmse": "test RMSE",
    "accuracy": "test accuracy",
    "calibration_error": "test calibration error",
}


def document(report: RetrainReport) -> Document:
    """One table of figures and differences, then what the evidence bound is and what was set."""
    return Document(
        subject=report.model.path,
        verdict=report.verdict,
        tone=_TONES[report.verdict],
        headline=headline(report),
        sections=(
            Section("Before, control and retrained", (_table(report),)),
            *((Section("All runs", _all_runs(report)),) if report.runs else ()),
            *((Section("Race of starts", _race(report)),) if report.race else ()),
            Section("Evidence", (Paragraph(report.bound.statement),)),
            Section("Written", (Paragraph(_written(report)),)),
            Section("Settings", (_settings(report),), detail=True),
        ),
        conditions=(
            *report.network_lines,
            *(f"assumed: {text}" for text in report.model.assumptions),
        ),
        checks=(
            Check(
                "not worse", "failed" if report.verdict in _WORSE else "passed", headline(report)
            ),
        ),
    )


def headline(report: RetrainReport) -> str:
    """The verdict in one sentence."""
    changes = {c.name: c for c in report.changes}
    if report.verdict == "nothing to gain":
        # L^G - L is at most H(g|ω), so the upper end of H is the most there is to gain
        upper = report.before.straddling_entropy.upper
        return (
            f"NOTHING TO GAIN: H(g|ω) is at most {number(upper)} nats, and by no more does the "
            "symmetrised objective differ from the ELBO; not trained (--anyway trains all the same)."
        )
    change = changes["symmetrized"]
    than = _reference(report) if report.compared_with == "control" else "the checkpoint"
    gain = (
        f"L^G changed by {_signed(change.value)} nats against {than}, interval {_interval(change)}"
    )
    nll = changes.get("test_nll")
    predictions = (
        "; no test data, so nothing is said about predictions"
        if nll is None
        else f"; test NLL per point by {_signed(nll.value)}, interval {_interval(nll)}"
    )
    return f"{report.verdict.upper()}: {gain}{predictions}."


def _reference(report: RetrainReport) -> str:
    """The control compared with, in words; older reports do not say which it was."""
    kinds = [run.kind for run in report.runs if run.name == report.compared_run]
    if not kinds:
        return "the control run"
    which = "best control run" if report.settings.control_runs > 1 else "control run"
    return f"the {which} ({_objective(report, kinds[0])})"


def _all_runs(report: RetrainReport) -> tuple[Table, Paragraph]:
    columns = (
        Column("run", numeric=False),
        Column("objective", numeric=False),
        *(Column(name) for name in ("L", "H(g|ω)", "L^G", "interval", "test NLL")),
    )
    tested = report.best_predictions is not None
    rows = tuple(
        (
            run.name,
            _objective(report, run.kind),
            number(run.elbo.value),
            number(run.straddling_entropy.value),
            number(run.symmetrized.value),
            f"[{number(run.symmetrized.lower)}, {number(run.symmetrized.upper)}]",
            *((number(run.test.nll),) if run.test is not None else ()),
        )
        for run in report.runs
    )
    best = f"Highest L^G: {report.best_evidence}"
    if tested:
        best += f"; lowest test NLL: {report.best_predictions}"
    caption = (
        "Nats over the training set, test NLL per point. Controls take as many steps as the "
        "retrained run; from scratch: random means, small stds, in long runs a weaker KL at first."
    )
    return Table(columns if tested else columns[:-1], rows, caption), Paragraph(f"{best}.")


_ORIGINS = {
    "start": "the start itself",
    "draw": "drawn from the posterior",
    "scratch": "from scratch",
}


def _race(report: RetrainReport) -> tuple[Table, Paragraph]:
    columns = (
        Column("start", numeric=False),
        Column("means", numeric=False),
        Column("L^G"),
        Column("interval"),
    )
    rows = tuple(
        (
            start.name,
            _ORIGINS[start.origin],
            number(start.symmetrized.value),
            f"[{number(start.symmetrized.lower)}, {number(start.symmetrized.upper)}]",
        )
        for start in report.race
    )
    steps = report.race[0].steps
    chosen = ", ".join(start.name for start in report.race if start.chosen)
    text = (
        f"Nats, after {steps} steps each of the retrained run's objective. It went on from "
        f"{chosen}, the highest L^G; controls take {steps} steps more as well."
    )
    return Table(columns, rows), Paragraph(text)


def _objective(report: RetrainReport, kind: RunKind) -> str:
    fresh = report.settings.start == "scratch"
    return {
        "before": "the checkpoint",
        "main": report.settings.objective,
        "continued": f"plain ELBO{', same start' if fresh else ', continued'}",
        "scratch": "plain ELBO from scratch",
    }[kind]


def _table(report: RetrainReport) -> Table:
    names = [c.name for c in report.changes]
    columns = (
        Column("", numeric=False),
        Column("before"),
        *((Column("control"),) if report.control is not None else ()),
        Column("retrained"),
        Column(f"retrained - {report.compared_with}"),
        Column("interval"),
    )
    # a run without a control has no such column, rather than an empty one
    runs = [f for f in (report.before, report.control, report.retrained) if f is not None]
    changes = {c.name: c for c in report.changes}
    rows = tuple(
        (
            _LABELS[n],
            *(_figure(f, n) for f in runs),
            _signed(changes[n].value),
            _interval(changes[n]),
        )
        for n in names
    )
    return Table(columns, rows, _caption(report))


def _caption(report: RetrainReport) -> str:
    text = (
        "Nats over the training set unless said otherwise; intervals of about 95 %, paired by "
        "weight noise and point."
    )
    if report.run_to_run is not None:
        text += (
            " The interval of L^G includes what training noise alone does (± "
            f"{number(report.run_to_run)} nats, from {_repeated(report)})."
        )
    return text


def _repeated(report: RetrainReport) -> str:
    # older reports hold no list of runs: all of theirs were continued
    count = sum(run.kind == "continued" for run in report.runs) or report.settings.control_runs
    return f"{count} continued control runs"


def _figure(figures: Figures, name: str) -> str:
    # evidence terms are fields of the run; scores stand one level down, in its test
    value = getattr(figures, name, None)
    if isinstance(value, Estimate):
        return number(value.value)
    if name == "active_units":
        return f"{figures.active_units} of {figures.units}"
    if value is not None:
        return number(value)
    if figures.test is None:
        return "n/a"
    scores = {"test_nll": figures.test.nll, "calibration_error": figures.test.calibration_error}
    # rmse or accuracy: one metric, under the name that the likelihood gives it
    return number(scores.get(name, figures.test.metric))


def _signed(value: float) -> str:
    # counts such as active units without decimals
    text = amount(value) if value == round(value) else number(value)
    return f"+{text}" if value > 0 else text


def _interval(change: Change) -> str:
    # A count such as active units has no sampling error: no interval rather than a point.
    if change.lower is None or change.upper is None or change.lower == change.upper:
        return ""
    return f"[{number(change.lower)}, {number(change.upper)}]"


def _written(report: RetrainReport) -> str:
    if report.output is not None:
        return f"The retrained posterior is in {report.output}."
    # before the case of no output name: there the file was asked for, and withheld
    if report.verdict in _WORSE:
        what = "the result is" if report.verdict == "worse" else "its predictions are"
        return (
            f"Nothing was written, because {what} worse; --keep-worse --resume writes it all the "
            "same."
        )
    if report.verdict == "nothing to gain":
        return "Nothing was written: the checkpoint is as good as before."
    return "Nothing was written: no output file was named."


def _settings(report: RetrainReport) -> Facts:
    s = report.settings
    kept = [
        *(f"{name} (running statistics)" for name in s.statistics),
        *(f"{name} (not read by the network)" for name in s.held),
    ]
    return Facts(
        (
            *((("kept as they are", ", ".join(kept)),) if kept else ()),
            (
                "objective",
                f"{s.objective} (marginals {s.marginals}; K = {s.num_elements} for infonce)",
            ),
            (
                "steps",
                f"{s.steps_taken} of {s.steps}, learning rate {s.learning_rate:g}, from {s.start}",
            ),
            ("per step", f"{s.batch_size} points, {s.draws} weight draws, seed {s.seed}"),
            ("likelihood", f"{s.likelihood}, noise {s.noise}"),
            ("prior", s.prior),
            (
                "evaluation",
                f"{s.evaluation_samples} weight draws, "
                f"{report.retrained.straddling_entropy.method}",
            ),
        )
    )
