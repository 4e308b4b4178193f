"""Every code block of README and docs runs as printed, or says why it is not run."""

import json
import subprocess
import sys

import pytest
from blocks import PAGES, ROOT, RUN, blocks, kept, page_mark, run

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib

EVERY = [block for page in PAGES for block in blocks(page)]
# marks that say who runs a block, or that nobody does and why; README's two commands have names
MARKS = ("not run: ", "slow: ", "output: ", "file: ", "run by ")
NAMED = {"analyze", "test"}
LIVE = [b for b in EVERY if b.language in RUN and not b.mark and not page_mark(b.page)]


def live(page):
    """The blocks that a reader would run one after the other, and the files that they are shown."""
    return [b for b in blocks(page) if b in LIVE or b.mark.startswith("file: ")]


def test_every_block_is_run_or_says_why_not():
    assert len(EVERY) > 40
    silent = [
        block.name
        for block in EVERY
        if not page_mark(block.page)
        and not (block.language in RUN and not block.mark)
        and not any(block.mark.startswith(m) and len(block.mark) > len(m) + 4 for m in MARKS)
        and block.mark not in NAMED
    ]
    assert silent == []


def test_whoever_is_said_to_run_a_block_is_there():
    marks = [b.mark for b in EVERY] + [page_mark(page) for page in PAGES]
    runners = {m.removeprefix("run by ") for m in marks if m.startswith("run by ")}
    assert all((ROOT / runner).is_file() for runner in runners)
    tested = (ROOT / ".ci/run").read_text("utf-8")
    assert all(f"readme_command.py {name}" in tested or name == "analyze" for name in NAMED)


@pytest.mark.parametrize("block", EVERY, ids=lambda b: b.name)
def test_data_is_well_formed(block):
    if block.language == "json":
        json.loads(block.text)
    if block.language == "toml":
        tomllib.loads(block.text)
    assert block.language in {*RUN, "json", "toml", "yaml", "text"}, block.name


@pytest.mark.parametrize("page", sorted({b.page for b in LIVE}), ids=lambda p: p.stem)
def test_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch, capsys):
    (tmp_path / "sample_models").symlink_to(ROOT / "sample_models")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for block in live(page):
        if block.mark.startswith("file: "):
            kept(block)
        else:
            run(block, names)


@pytest.mark.slow
def test_pasted_outputs_are_what_the_commands_print(tmp_path):
    program = tmp_path / "symdiag"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m symdiag "$@"\n', "utf-8")
    program.chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    script = [sys.executable, ".ci/refresh_outputs.py", "--check"]
    done = subprocess.run(
        script,
        cwd=ROOT,
        env={"PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "block", [b for b in EVERY if b.mark.startswith("slow: ")], ids=lambda b: b.name
)
def test_what_takes_minutes_runs_too(block, tmp_path, monkeypatch):
    (tmp_path / "sample_models").symlink_to(ROOT / "sample_models")
    monkeypatch.chdir(tmp_path)
    run(block, {})
