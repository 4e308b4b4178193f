"""Command line over environment over file; nothing misspelt is ignored."""

import pytest
from report_examples import report

from symdiag.cli.main import main


@pytest.fixture
def used(monkeypatch):
    """The options of the last analysis."""
    options = {}

    def analyze(path, **given):
        options.clear()
        for concern in given.values():
            options.update(getattr(concern, "__dict__", {}))
        return report("ok", findings=())

    monkeypatch.setattr("symdiag.tasks.analyze.analysis", analyze)
    return options


def test_file_below_environment_below_command_line(used, tmp_path, monkeypatch):
    (tmp_path / "symdiag.toml").write_text("seed = 1\n")
    assert main(["analyze", "x"]) == 0
    assert used["seed"] == 1
    monkeypatch.setenv("SYMDIAG_SEED", "2")
    assert main(["analyze", "x"]) == 0
    assert used["seed"] == 2
    assert main(["analyze", "x", "--seed", "3"]) == 0
    assert used["seed"] == 3


def test_one_value_for_a_repeatable_option_needs_no_list(used, tmp_path):
    """One line holds for every command, whether it reads one checkpoint or several."""
    (tmp_path / "symdiag.toml").write_text('companion = "net.bin"\n')
    assert main(["analyze", "x"]) == 0
    assert [str(path) for path in used["companion"] if path] == ["net.bin"]


def test_pyproject_from_a_parent_folder(used, tmp_path, monkeypatch):
    text = '[tool.symdiag]\nmax-straddling = 0.25\n[tool.symdiag.analyze]\nactivation = "tanh"\n'
    (tmp_path / "pyproject.toml").write_text(text)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    assert main(["analyze", "x"]) == 0
    assert (used["max_straddling"], used["activation"]) == (0.25, "tanh")


def test_a_pyproject_of_others_is_passed_over(used, tmp_path, monkeypatch):
    (tmp_path / "symdiag.toml").write_text("seed = 7\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "pyproject.toml").write_text("[tool.other]\nseed = 8\n")
    monkeypatch.chdir(tmp_path / "sub")
    assert main(["analyze", "x"]) == 0
    assert used["seed"] == 7


def test_an_explicit_file_wins_over_the_one_found(used, tmp_path):
    (tmp_path / "symdiag.toml").write_text("seed = 1\n")
    (tmp_path / "other.toml").write_text("seed = 2\n")
    assert main(["--config", "other.toml", "analyze", "x"]) == 0
    assert used["seed"] == 2


def test_underscores_and_flags_and_lists(used, tmp_path, capsys):
    (tmp_path / "symdiag.toml").write_text(
        'max_straddling = 3\nquiet = true\n[analyze]\noutput = ["r.json", "r.md"]\n'
    )
    assert main(["analyze", "x"]) == 0
    assert used["max_straddling"] == 3.0
    assert (tmp_path / "r.json").exists()
    assert (tmp_path / "r.md").exists()
    assert "Hidden groups" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max-stradling = 1\n", "max-straddling"),
        ("[analyze]\nsede = 1\n", "seed"),
        ("[analise]\nseed = 1\n", "unknown config key 'analise'"),
        ("analyze = 3\n", "should be a table"),
        ("seed = [", "cannot read"),
        ("seed = 'many'\n", "--seed"),
        ("model = 'evil:factory'\n", "unknown config key 'model'"),
        ("output = ['r.json']\n", "unknown config key 'output'"),
        ("write-spec = 1\nhelp = true\n", "help"),
    ],
)
@pytest.mark.parametrize("format", ["text", "json"])
def test_a_bad_file_is_code_2_and_says_what(used, tmp_path, capsys, text, said, format):
    (tmp_path / "symdiag.toml").write_text(text)
    assert main(["analyze", "x", "--format", format]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert used == {}


@pytest.mark.parametrize("name", ["SYMDIAG_SEDE", "SYMDIAG_MAX_STRADLING", "SYMDIAG_MODEL"])
def test_a_misspelt_variable_is_code_2(used, monkeypatch, capsys, name):
    monkeypatch.setenv(name, "1")
    assert main(["analyze", "x"]) == 2
    assert name in capsys.readouterr().err


def test_a_variable_out_of_range_is_code_2(used, monkeypatch, capsys):
    monkeypatch.setenv("SYMDIAG_SEED", "-4")
    assert main(["analyze", "x"]) == 2
    assert "--seed" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["variable", "file"])
def test_json_mode_by_configuration_holds_for_errors_too(
    used, monkeypatch, tmp_path, capsys, where
):
    if where == "variable":
        monkeypatch.setenv("SYMDIAG_FORMAT", "json")
    else:
        (tmp_path / "symdiag.toml").write_text('format = "json"\n')
    assert main(["analyze", "x", "--sedd", "1"]) == 2
    assert '"code": "usage"' in capsys.readouterr().out
    assert main(["analyze", "x"]) == 0
    assert capsys.readouterr().out.startswith("{")


def test_a_setting_for_one_command_does_not_reach_another(used, tmp_path):
    (tmp_path / "symdiag.toml").write_text("seed = 1\n[compare]\nseed = 9\ntolerance = 0.5\n")
    assert main(["analyze", "x"]) == 0
    assert used["seed"] == 1
