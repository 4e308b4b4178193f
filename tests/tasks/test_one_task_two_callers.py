"""A task's command and its Python call are one: options, defaults, report outside ``run``."""

import ast
import dataclasses
import inspect
import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import typer

import symdiag
from symdiag.cli.main import build_app, main
from symdiag.errors import SymdiagError
from symdiag.options import declared
from symdiag.report import render
from symdiag.tasks import options as concerns

MODELS = Path(__file__).resolve().parents[2] / "sample_models"
STRADDLED, HEALTHY = (str(MODELS / f"wave-{name}.pt") for name in ("straddled", "healthy"))
TRAIN, TEST = (str(MODELS / name) for name in ("wave.npz", "wave-test.npz"))


@pytest.fixture(autouse=True)
def _other(tmp_path):
    """``other.pt``: the straddled posterior with moved means and two units exchanged."""
    generator = torch.Generator().manual_seed(0)
    state = torch.load(STRADDLED, weights_only=True)
    order = [1, 0, *range(2, 100)]
    for name, tensor in state.items():
        width = next((axis for axis, size in enumerate(tensor.shape) if size > 1), None)
        if width is not None:
            tensor = tensor.index_select(width, torch.tensor(order[: tensor.shape[width]]))
        noise = 0.02 * torch.randn(tensor.shape, generator=generator)
        state[name] = tensor + noise.to(tensor.dtype)
    torch.save(state, tmp_path / "other.pt")


@pytest.fixture
def draws(tmp_path):
    rng = np.random.default_rng(0)
    shapes = {"fc1.weight": (4, 2), "fc1.bias": (4,), "fc2.weight": (1, 4), "fc2.bias": (1,)}
    arrays = {n: rng.normal(size=s) + 0.05 * rng.normal(size=(12, *s)) for n, s in shapes.items()}
    np.savez(tmp_path / "draws.npz", **arrays)
    return str(tmp_path / "draws.npz")


CASES = {
    "analyze": (
        f"{STRADDLED} --activation relu --samples 16 --seed 3 --infonce 5 --reference other.pt "
        f"--data {TRAIN} --test {TEST} --noise 0.3 --prior-std 1",
        lambda _: symdiag.analyze(
            STRADDLED,
            activation="relu",
            samples=16,
            seed=3,
            infonce=5,
            reference="other.pt",
            data=TRAIN,
            test=TEST,
            noise=0.3,
            prior_std=1.0,
        ),
    ),
    "align": (
        f"{STRADDLED} other.pt --activation relu --cost kl --seed 2 --data {TRAIN} --samples 4",
        lambda _: (
            symdiag.align(
                STRADDLED, "other.pt", activation="relu", cost="kl", seed=2, data=TRAIN, samples=4
            ).report
        ),
    ),
    "universe": (
        f"{STRADDLED} other.pt --activation relu --universe --restarts 3",
        lambda _: symdiag.align_many([STRADDLED, "other.pt"], activation="relu", restarts=3).report,
    ),
    "retrain": (
        f"{HEALTHY} --data {TRAIN} --activation relu --noise 0.3 --prior-std 1 --prior-std blinear1=2 "
        "--steps 4 --draws 2 --samples 8 --budget 0.2 --no-control --seed 5",
        lambda _: (
            symdiag.retrain(
                HEALTHY,
                TRAIN,
                activation="relu",
                noise=0.3,
                prior_std={"": 1.0, "blinear1": 2.0},
                steps=4,
                draws=2,
                samples=8,
                budget=0.2,
                control=False,
                seed=5,
            ).report
        ),
    ),
    "prune": (
        f"{STRADDLED} --activation relu --seed 1 --samples 8",
        lambda _: symdiag.prune(STRADDLED, activation="relu", seed=1, samples=8).report,
    ),
    "samples": (
        "{draws} --activation tanh --samples 4 --starts 2",
        lambda draws: symdiag.analyze_samples(draws, activation="tanh", samples=4, starts=2).report,
    ),
    "inspect": (
        f"{STRADDLED} --activation relu",
        lambda _: symdiag.inspect(STRADDLED, activation="relu"),
    ),
    "doctor": ("", lambda _: symdiag.doctor()),
    "compare": (
        f"{STRADDLED} other.pt --activation relu --samples 8 --tolerance 0.5",
        lambda _: symdiag.compare(
            STRADDLED, "other.pt", activation="relu", samples=8, tolerance=0.5
        ),
    ),
}


@pytest.mark.parametrize("task", CASES)
def test_command_and_call_give_the_same_report(task, draws, capsys):
    line, call = CASES[task]
    name = "align" if task == "universe" else task
    assert main([name, *line.format(draws=draws).split(), "--format", "json"]) in (0, 1)
    printed = json.loads(capsys.readouterr().out)
    returned = json.loads(render(call(draws), "json"))
    assert printed.pop("run").keys() == returned.pop("run").keys() != set()
    assert printed == returned


def test_every_command_that_makes_a_report_is_compared():
    others = {"report", "explain", "schema"}
    assert set(typer.main.get_command(build_app()).commands) - others == CASES.keys() - {"universe"}


CALLS = {
    "analyze": symdiag.analyze,
    "align": symdiag.align,
    "prune": symdiag.prune,
    "retrain": symdiag.retrain,
    "samples": symdiag.analyze_samples,
    "inspect": symdiag.inspect,
    "compare": symdiag.compare,
    "doctor": symdiag.doctor,
}
SHOWN = {"format", "color", "theme", "quiet", "verbose", "report", "exit_zero", "strict", "help"}


@pytest.mark.parametrize("name", CALLS)
def test_options_and_keywords_are_the_same_with_the_same_defaults(name):
    command = typer.main.get_command(build_app()).commands[name]
    asked = {p.name: p.default for p in command.params if p.name not in SHOWN}
    keywords = inspect.signature(CALLS[name]).parameters
    if name in ("analyze", "inspect", "compare", "doctor"):
        del asked["output"]  # a report there; weights elsewhere
    asked = {k: v for k, v in asked.items() if k not in ("paths", "path", "universe")}
    assert asked.keys() <= keywords.keys()
    for key, default in asked.items():
        if keywords[key].default is not inspect.Parameter.empty:
            assert default == keywords[key].default, key


def test_one_word_for_one_thing():
    """What is diagnosed is ``source``; ``model`` is the network, and is called nothing else."""
    calls = (*CALLS.values(), symdiag.StraddlingPenalty, symdiag.align_many)
    for call in calls:
        names = list(inspect.signature(call).parameters)
        assert not {"network", "module", "net", "checkpoint"} & set(names)
        if call not in (symdiag.compare, symdiag.doctor, symdiag.align_many):
            assert names[0] == "source"
        if call is not symdiag.doctor:
            assert "model" in names


def test_a_wrong_keyword_is_a_type_error_that_names_it():
    with pytest.raises(TypeError, match="activaton"):
        symdiag.analyze(STRADDLED, activaton="relu")


def test_keywords_refine_the_options_given_as_a_whole():
    whole = concerns.EstimationOptions(samples=4, seed=9)
    report = symdiag.analyze(HEALTHY, activation="relu", estimation=whole, seed=1)
    assert (report.settings.samples, report.settings.seed) == (4, 1)


RANGED = [
    (cls, name, value)
    for cls in (getattr(concerns, name) for name in concerns.__all__)
    for name, (_, option) in declared(cls).items()
    if option.least is not None
    for value in (
        option.least - 1,
        float("nan"),
        *([] if option.most is None else [option.most + 1]),
    )
]


@pytest.mark.parametrize(("cls", "name", "value"), RANGED)
def test_python_refuses_what_the_command_line_refuses(cls, name, value):
    with pytest.raises(SymdiagError) as caught:
        cls(**{name: value})
    assert caught.value.code == "bad-option"
    assert name in caught.value.message


def test_options_are_frozen_and_say_what_they_do():
    for name in concerns.__all__:
        cls = getattr(concerns, name)
        with pytest.raises(dataclasses.FrozenInstanceError):
            cls().anything = 1
        assert all(option.help for _, option in declared(cls).values())


def test_the_module_lists_its_api_and_nothing_else():
    assert dir(symdiag) == sorted(symdiag.__all__)
    assert all(getattr(symdiag, name) is not None for name in symdiag.__all__)
    assert "activation:" in symdiag.retrain.__doc__


def test_two_v_log_what_was_read_found_and_estimated(capsys):
    assert main(["analyze", HEALTHY, "--activation", "relu", "--samples", "4", "-vv"]) == 0
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("DEBUG: ")]
    for part in ("read ", "network: ", "groups: ", "H(g|w) by", "done in"):
        assert any(part in line for line in lines), part
    assert main(["analyze", HEALTHY, "--activation", "relu", "--samples", "4", "-v"]) == 0
    assert capsys.readouterr().err == ""
    assert not logging.getLogger("symdiag").handlers


@pytest.mark.parametrize(
    ("call", "said", "unsaid"),
    [
        (lambda: symdiag.analyze(HEALTHY, data=TRAIN, samples=4), "activation=", "--activation"),
        (
            lambda: symdiag.analyze(HEALTHY, data=TRAIN, activation="relu", samples=4),
            "prior_std=1.0",
            "--prior-std",
        ),
        (lambda: symdiag.analyze(HEALTHY, test=TEST), "test= needs data=", "--test"),
        (lambda: symdiag.retrain(HEALTHY, TRAIN, start="mars"), "start=", "--from"),
        (lambda: symdiag.align(HEALTHY, HEALTHY, output=HEALTHY), "is an input", "--output"),
        (lambda: symdiag.compare(HEALTHY, HEALTHY, samples=0), "samples must be", "--samples"),
        (lambda: symdiag.prune(HEALTHY, output=HEALTHY), "another output=FILE", "-o "),
        (lambda: symdiag.analyze(HEALTHY, device="tpu"), 'device="tpu"', "--device"),
        (
            lambda: symdiag.StraddlingPenalty(torch.nn.Module(), scale_transform="cube"),
            "scale transform",
            "--scale",
        ),
    ],
)
def test_errors_in_python_name_keywords_and_carry_their_hint(call, said, unsaid):
    with pytest.raises(SymdiagError) as caught:
        call()
    text = str(caught.value)
    assert said in text
    assert unsaid not in text
    assert caught.value.hint in text


def test_hints_that_are_commands_stay_commands():
    from symdiag.tasks.keywords import as_keywords

    command = "symdiag retrain m.pt --data TRAIN.npz --K 5"
    assert as_keywords(command) == command
    assert as_keywords("give --K 5, or --no-control") == "give num_elements=5, or control=False"
    assert as_keywords("so --prior-mixture 0.5,1,0.1 (PI") == "so prior_mixture=(0.5, 1, 0.1) (PI"
    assert as_keywords("a well-known --scale-transform") == "a well-known scale_transform="
    assert as_keywords("--assume-chain if it is one") == "assume_chain=True if it is one"
    assert as_keywords("use --activation relu or --spec a.toml") == (
        'use activation="relu" or spec="a.toml"'
    )
    assert as_keywords("choose another -o FILE; (-o)") == "choose another output=FILE; (output=)"


def test_no_error_of_the_package_shows_a_flag_to_python():
    """Every string below the command line, but whole commands, loses its flags."""
    from symdiag.tasks.keywords import as_keywords

    package = Path(symdiag.__file__).parent
    for path in package.rglob("*.py"):
        if path.relative_to(package).parts[0] == "cli":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "").endswith("Error"):
                for text in ast.walk(node):
                    if isinstance(text, ast.Constant) and isinstance(text.value, str):
                        left = re.search(r"(?<![\w-])(--[a-z]|-o\b)", as_keywords(text.value))
                        assert not left or "symdiag " in text.value, (path, text.value)


def test_files_may_be_strings(tmp_path):
    """The command line makes a Path of every file; a caller need not."""
    symdiag.inspect(HEALTHY, activation="relu", write_spec=str(tmp_path / "spec.toml"))
    given = symdiag.inspect(HEALTHY, spec=str(tmp_path / "spec.toml"))
    assert given.network.source == "spec"
    out = str(tmp_path / "moved.pt")
    symdiag.align(HEALTHY, HEALTHY, activation="relu", restarts=0, output=out)
    assert Path(out).exists()


def test_a_number_that_only_the_task_refuses_is_named_by_its_flag(capsys):
    assert main(["analyze", HEALTHY, "--max-straddling", "inf"]) == 2
    assert "--max-straddling must be" in capsys.readouterr().err
