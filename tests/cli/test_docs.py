"""Commands and settings shown in the documentation parse as the program does."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from symdiag.cli._config import default_map
from symdiag.cli.main import build_app

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = [DOCS / "ci.md", DOCS / "reading-a-report.md", DOCS / "samples.md"]
COMMANDS = typer.main.get_command(build_app()).commands


def shown(page):
    """Every ``symdiag …`` command of a page, up to the first shell operator."""
    text = page.read_text("utf-8")
    blocks = "\n".join(re.findall(r"```.*?```", text, flags=re.S)).replace("\n    -o", " -o")
    inline = re.findall(r"`(symdiag [^`]*)`", re.sub(r"```.*?```", "", text, flags=re.S))
    pattern = (
        r"(?<!entry: )\bsymdiag (?:analyze|compare|report|explain|samples|schema|inspect)\b[^\n]*"
    )
    found = inline + re.findall(pattern, blocks)
    return [re.split(r" (?:2?>|\||\|\|)", line)[0] for line in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_command_shown_parses(page):
    lines = shown(page)
    assert len(lines) >= 3
    for line in lines:
        name, *arguments = shlex.split(line)[1:]
        if arguments and name != "retrain":
            with COMMANDS[name].make_context(name, arguments):
                pass
        assert name in COMMANDS


def test_the_settings_shown_are_known():
    (block,) = re.findall(r"```toml\n(.*?)```", (DOCS / "ci.md").read_text("utf-8"), flags=re.S)
    settings = tomllib.loads(block)["tool"]["symdiag"]
    assert default_map(settings, COMMANDS)["analyze"] == {
        "max_straddling": 0.5,
        "seed": 1,
        "activation": "relu",
        "strict": True,
    }


def test_no_page_claims_an_index_that_the_package_is_not_on():
    pages = [*DOCS.rglob("*.md"), *(DOCS.parent / n for n in ("README.md", "CONTRIBUTING.md"))]
    for page in pages:
        text = page.read_text("utf-8")
        assert not re.search(r"pip install (?:-\S+ )*['\"]?symdiag\b(?!-)", text), page.name
        assert "additional_dependencies: [symdiag]" not in text, page.name
