"""The smaller commands: report, compare, explain, schema, inspect, help."""

import contextlib
import copy
import dataclasses
import json
import re

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_examples import estimate, hostile_report, report

from symdiag.cli.main import build_app, main
from symdiag.errors import SymdiagError, UnreadableError
from symdiag.report import Failure, RenderOptions, format_names, render, render_all
from symdiag.report.comparison import compare_reports, difference
from symdiag.report.pictures import ON_A_PAGE
from symdiag.report.schemas import schema_names, schema_text

# ---------------------------------------------------------------- help


def commands():
    import typer

    return typer.main.get_command(build_app()).commands


@pytest.mark.parametrize(
    "name", ["analyze", "inspect", "compare", "report", "explain", "schema", "doctor"]
)
def test_each_help_holds_one_example_that_parses(name, capsys):
    assert main([name, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    (example,) = re.findall(rf"Example: symdiag {name} (.*)$", text)
    arguments = example.split(" > ")[0].split()
    with commands()[name].make_context(name, arguments, resilient_parsing=False) as context:
        assert context.params


def test_no_command_is_a_usage_error(capsys):
    assert main([]) == 2
    assert "error[usage]" in capsys.readouterr().err


def test_an_unknown_command_is_suggested(capsys):
    assert main(["analise"]) == 2
    assert "analyze" in capsys.readouterr().err


# ---------------------------------------------------------------- report


def test_a_report_with_an_absurd_count_is_refused(tmp_path, capsys):
    edited = report().to_dict()
    edited["model"]["covered_parameters"] = 10**400
    (tmp_path / "r.json").write_text(json.dumps(edited))
    assert main(["report", "r.json"]) == 2
    assert "covered_parameters" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["text", "markdown", "html", "junit", "github", "json"])
def test_report_renders_as_the_analysis_would_have(tmp_path, capsys, name):
    options = RenderOptions(figures=ON_A_PAGE)  # as the command line does; only HTML has any
    for made in (report(), hostile_report()):
        (tmp_path / "r.json").write_text(render(made, "json"))
        assert main(["report", "r.json", "--format", name]) == 0
        assert capsys.readouterr().out == render(made, name, options)


def test_report_of_several_keeps_the_failures(tmp_path, capsys):
    bad = Failure("x.pt", SymdiagError("broken", code="corrupt", hint="again"))
    (tmp_path / "r.json").write_text(render_all([report(), bad], "json"))
    assert main(["report", "r.json", "--format", "json"]) == 0
    assert capsys.readouterr().out == (tmp_path / "r.json").read_text()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "bad-report"),
        (b"[1]", "bad-report"),
        (b"{", "bad-report"),
        (b"\xff\xfe\x00", "bad-report"),
        (b'{"schema_version": 2}', "bad-report"),
        (b'{"schema_version": 1, "kind": "analyze", "total": NaN}', "bad-report"),
        (b'{"reports": [3]}', "bad-report"),
        (b"[" * 100000, "bad-report"),
        (b'{"a":' * 100000, "bad-report"),
        (None, "not-a-file"),
    ],
)
def test_report_refuses_what_is_none(tmp_path, capsys, content, code):
    if content is not None:
        (tmp_path / "r.json").write_bytes(content)
    assert main(["report", "r.json", "--format", "json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == code


def places(node, here=()):
    """Every path into a JSON value."""
    yield here
    children = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for key, child in children:
        yield from places(child, (*here, key))


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.just([]),
    st.just({}),
    st.just([None]),
    st.just({"path": 3}),
)
TREE = json.loads(render(report(), "json")) | {
    "alignment": {
        "reference": {"path": "r", "sha256": "", "format": ""},
        "distance": {
            "cost": "w2",
            "unit": "",
            "before": 4.0,
            "after": 1.0,
            "relabelling_share": 0.75,
        },
        "certificate": dict(
            status="", statement="", lower_bound=1.0, gap=0.0, method="", agreement=1.0, starts=1
        ),
        "verdict": "",
    },
    "test": {"nll": 1.0},
}


@settings(max_examples=300, deadline=None)
@given(
    place=st.sampled_from([p for p in places(TREE) if p]),
    junk=JUNK,
    format=st.sampled_from(format_names()),
)
def test_an_edited_report_is_shown_or_refused_never_a_crash(place, junk, format):
    data = copy.deepcopy(TREE)
    node = data
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = junk
    with contextlib.suppress(UnreadableError):
        render(data, format, RenderOptions(detail=2))


# ---------------------------------------------------------------- schema and explain


def test_schema_prints_every_schema(capsys):
    for name in schema_names():
        assert main(["schema", name]) == 0
        assert json.loads(capsys.readouterr().out)["$schema"].endswith("2020-12/schema")
    assert main(["schema", "horoscope"]) == 2


def test_explain_knows_findings_and_errors_in_any_case(capsys):
    for code, word in (
        ("SYM001", "straddl"),
        ("sym003", "log k!"),
        ("unsafe-checkpoint", "pickle"),
    ):
        assert main(["explain", code]) == 0
        assert word in capsys.readouterr().out


def test_explain_suggests_and_lists(capsys):
    for near in ("SYM01", "sym1", "sym-001"):
        assert main(["explain", near]) == 2
        assert "did you mean SYM001?" in capsys.readouterr().err
    assert main(["explain"]) == 0
    listing = capsys.readouterr().out
    assert "SYM001" in listing
    assert "lfs-pointer" in listing


def test_explain_speaks_json(capsys):
    assert main(["explain", "SYM001", "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert {"code", "title", "meaning", "action", "reference"} <= set(data)


# ---------------------------------------------------------------- compare


def shifted(made, by, half_width=0.1, error=0.05):
    def move(e, sign):
        value = e.value + sign * by
        return dataclasses.replace(
            e,
            value=value,
            lower=value - half_width,
            upper=value + half_width,
            std_error=error,
            brackets=(),
        )

    groups = tuple(
        dataclasses.replace(
            g,
            straddling_entropy=move(g.straddling_entropy, 1),
            mutual_information=move(g.mutual_information, -1),
        )
        for g in made.groups
    )
    total = dataclasses.replace(
        made.total,
        straddling_entropy=move(made.total.straddling_entropy, 1),
        mutual_information=move(made.total.mutual_information, -1),
    )
    return dataclasses.replace(made, groups=groups, total=total)


@pytest.mark.parametrize(
    ("shift", "tolerance", "outcome"),
    [
        (0.0, 0.1, "unchanged"),
        (0.2, 0.1, "unchanged"),  # 3 s.e. = 3 * 0.05 * sqrt 2 = 0.212
        (0.22, 0.1, "regressed"),
        (0.22, 0.3, "unchanged"),
        (0.31, 0.3, "regressed"),
        (-0.22, 0.1, "improved"),
        (-0.2, 0.1, "unchanged"),
    ],
)
def test_a_regression_exceeds_tolerance_and_three_standard_errors(shift, tolerance, outcome):
    made = compare_reports(shifted(report(), 0.0), shifted(report(), shift), tolerance)
    assert made.verdict == outcome
    assert {d.outcome for d in made.straddling_entropy} == {outcome}
    assert {d.outcome for d in made.mutual_information} == {outcome}


def test_what_the_methods_leave_open_is_inconclusive():
    loose = dataclasses.replace(estimate(1.0), lower=0.0, upper=2.0)
    assert (
        difference("x", loose, dataclasses.replace(loose, value=1.5), 0.1).outcome == "inconclusive"
    )
    assert difference("x", loose, dataclasses.replace(loose, value=9.0), 0.1).outcome == "regressed"
    single = dataclasses.replace(estimate(1.0), std_error=None)
    assert difference("x", single, estimate(9.0), 0.1).outcome == "inconclusive"


@pytest.mark.parametrize(
    ("shift", "flags", "code"),
    [
        (0.0, [], 0),
        (1.0, [], 1),
        (1.0, ["--exit-zero"], 0),
        (1.0, ["--tolerance", "2"], 0),
        (-1.0, [], 0),
    ],
)
def test_compare_exit_codes(tmp_path, capsys, shift, flags, code):
    for name, made in (("a.json", shifted(report(), 0.0)), ("b.json", shifted(report(), shift))):
        (tmp_path / name).write_text(render(made, "json"))
    assert main(["compare", "a.json", "b.json", "--format", "json", *flags]) == code
    data = json.loads(capsys.readouterr().out)
    jsonschema.validate(data, json.loads(schema_text("compare")))
    assert data["straddling_entropy"][-1]["difference"] == pytest.approx(shift)


def test_compare_reads_a_checkpoint_with_the_options_given(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_text(render(report(), "json"))
    seen = {}

    def analyze(path, **options):
        seen.update(path=path, seed=options["estimation"].seed)
        seen.update(activation=options["reading"].activation)
        return report()

    monkeypatch.setattr("symdiag.tasks.analyze.analyze", analyze)
    assert main(["compare", "a.json", "b.pt", "--seed", "4", "--activation", "relu"]) == 0
    assert (seen["path"].name, seen["seed"], seen["activation"]) == ("b.pt", 4, "relu")


def incomparable():
    groups = report().groups
    renamed = tuple(dataclasses.replace(g, width=5) for g in groups)
    signed = tuple(dataclasses.replace(g, signed=True) for g in groups)
    yield dataclasses.replace(report(), groups=groups[:1])
    yield dataclasses.replace(report(), groups=renamed)
    yield dataclasses.replace(report(), groups=signed)


@pytest.mark.parametrize("other", list(incomparable()))
def test_what_cannot_be_compared_is_code_2(tmp_path, capsys, other):
    (tmp_path / "a.json").write_text(render(report(), "json"))
    (tmp_path / "b.json").write_text(render(other, "json"))
    assert main(["compare", "a.json", "b.json", "--format", "json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "not-comparable"


def test_a_list_of_reports_is_not_compared(tmp_path, capsys):
    (tmp_path / "a.json").write_text(render_all([report(), report()], "json"))
    assert main(["compare", "a.json", "a.json"]) == 2
    assert "exactly one" in capsys.readouterr().err


# ---------------------------------------------------------------- inspect


@pytest.fixture
def checkpoint(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for name, shape in (
        ("fc1.weight", (5, 3)),
        ("fc1.bias", (5,)),
        ("fc2.weight", (2, 5)),
        ("fc2.bias", (2,)),
    ):
        arrays[f"{name}_mu"] = rng.normal(size=shape)
        arrays[f"{name}_std"] = rng.uniform(0.1, 0.2, size=shape)
    np.savez(tmp_path / "m.npz", **arrays)
    return arrays


def test_inspect_tells_tensors_stds_and_groups(checkpoint, capsys):
    assert main(["inspect", "m.npz", "--activation", "tanh", "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    jsonschema.validate(data, json.loads(schema_text("inspect")))
    (group,) = data["groups"]
    assert (group["width"], group["signed"]) == (5, True)
    assert data["log_order"] == pytest.approx(np.log(120 * 2**5))
    assert not data["verified"]
    assert data["parameters"] == sum(a.size for n, a in checkpoint.items() if n.endswith("_mu"))
    stds = np.concatenate([a.ravel() for n, a in checkpoint.items() if n.endswith("_std")])
    assert data["scale_range"] == [stds.min(), stds.max()]
    assert {t["key"] for t in data["stored"]} == set(checkpoint)


def test_inspect_writes_a_spec_once_and_reads_it_back(checkpoint, tmp_path, capsys):
    assert main(["inspect", "m.npz", "--write-spec", "spec.toml"]) == 0
    assert "width = 5" in (tmp_path / "spec.toml").read_text("utf-8")
    capsys.readouterr()
    assert main(["inspect", "m.npz", "--spec", "spec.toml", "--format", "json"]) == 0
    assert [g["width"] for g in json.loads(capsys.readouterr().out)["groups"]] == [5]
    assert main(["inspect", "m.npz", "--write-spec", "spec.toml"]) == 2
    assert "error[exists]" in capsys.readouterr().err


def test_inspect_with_a_model_takes_its_activation_and_the_spec_file(
    checkpoint, tmp_path, monkeypatch, capsys
):
    """The module settles what can be flipped: nothing is "unknown". A spec file goes before the traced groups."""
    (tmp_path / "inspected_net.py").write_text(
        "from torch import nn\n\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.fc1, self.fc2 = nn.Linear(3, 5), nn.Linear(5, 2)\n\n"
        "    def forward(self, x):\n        return self.fc2(self.fc1(x).tanh())\n",
        "utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    model = ["--model", "inspected_net:Net"]
    assert main(["inspect", "m.npz", *model, "--write-spec", "net.toml", "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    jsonschema.validate(data, json.loads(schema_text("inspect")))
    assert data["groups"][0]["signed"]
    assert data["verified"]
    assert "--model" in data["activation"]
    text = (tmp_path / "net.toml").read_text("utf-8")
    broken = text.replace('  { tensor = "fc1.bias", axis = 0 },\n', "")
    assert broken != text
    (tmp_path / "broken.toml").write_text(broken, "utf-8")
    assert main(["inspect", "m.npz", *model, "--spec", "broken.toml", "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["groups"] == []
    assert "left out" in " ".join(data["assumptions"])
    assert main(["inspect", "m.npz", *model, "--spec", "broken.toml", "--format", "text"]) == 0
    text = capsys.readouterr().out
    assert "checked against the module's outputs" in text
    assert "None: no set of units" in text
    assert main(["analyze", "m.npz", *model, "--samples", "4", "--format", "json"]) in (0, 1)
    assert not {f["code"] for f in json.loads(capsys.readouterr().out)["findings"]} & {"SYM102"}


def test_inspect_shows_what_it_saw_of_a_file_without_scales(tmp_path, capsys):
    np.savez(tmp_path / "plain.npz", **{"0.weight": np.ones((3, 2)), "0.bias": np.ones(3)})
    assert main(["inspect", "plain.npz", "--format", "json"]) == 2
    data = json.loads(capsys.readouterr().out)
    jsonschema.validate(data, json.loads(schema_text("inspect")))
    assert data["problem"]["code"] == "no-scales-found"
    assert {t["key"] for t in data["stored"]} == {"0.weight", "0.bias"}
    assert main(["inspect", "plain.npz"]) == 2
    assert "no-scales-found" in capsys.readouterr().out


def test_inspect_of_nothing_readable(tmp_path, capsys):
    (tmp_path / "empty.pt").write_bytes(b"")
    assert main(["inspect", "empty.pt", "--format", "json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "empty-file"


# ---------------------------------------------------------------- analyze with data


def test_analyze_with_data_end_to_end(checkpoint, tmp_path, capsys):
    rng = np.random.default_rng(3)
    for name in ("train.npz", "test.npz"):
        np.savez(tmp_path / name, X=rng.normal(size=(20, 3)), y=rng.normal(size=(20, 2)))
    command = "analyze m.npz --activation relu --samples 8 --data train.npz --noise 0.5 --prior-std 1 --format json"
    assert main([*command.split(), "--test", "test.npz"]) in (0, 1)
    data = json.loads(capsys.readouterr().out)
    jsonschema.validate(data, json.loads(schema_text("analyze")))
    assert data["elbo"]["noise_std"] == pytest.approx(0.5)
    assert set(data["test"]) == {"nll", "rmse", "calibration_error"}


def test_test_data_alone_are_a_usage_error(checkpoint, capsys):
    assert main(["analyze", "m.npz", "--test", "test.npz"]) == 2
    assert "--data" in capsys.readouterr().err


# ---------------------------------------------------------------- short help


@pytest.mark.parametrize("name", [None, *commands()])
def test_h_is_help_everywhere(name, capsys):
    shown = []
    for flag in ("-h", "--help"):
        assert main([flag] if name is None else [name, flag]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] != ""


# ---------------------------------------------------------------- completion


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("explain SYM00", {"SYM001", "SYM002", "SYM003", "SYM004"}),
        ("explain unsafe", {"unsafe-checkpoint"}),
        ("analyze --max-st", {"--max-straddling"}),
        ("analyze --activation ta", {"tanh", "tanhshrink"}),
        ("inspect --scale-transform exp", {"exp", "exp-half"}),
        ("align --cost ", {"hellinger", "kl", "mean", "w2"}),
        ("retrain --objective ", {"elbo", "infonce", "symmetrized"}),
        ("retrain --from s", {"scratch"}),
        ("schema sam", {"samples"}),
        ("doctor --format ju", {"junit"}),
    ],
)
def test_words_are_completed(line, offered, monkeypatch, capsys):
    words = line.split(" ")  # an empty last word asks for every candidate
    monkeypatch.setenv("_SYMDIAG_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"symdiag {line}")
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    assert main([]) == 0
    found = capsys.readouterr().out.split()
    assert offered <= set(found)
    assert all(word.startswith(words[-1]) for word in found)
