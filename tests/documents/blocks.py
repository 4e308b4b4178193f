"""Code blocks of the documentation: what marks them, and how a page's blocks are run as a reader would run them."""

import contextlib
import io
import re
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path

from symdiag.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("*/README.md"),
    ]
)
# an HTML comment, if any, then the fence
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n)?^(?P<indent> *)(?P<ticks>```+)(?P<language>[^\n]*)\n(?P<text>.*?)^ *(?P=ticks)$",
    re.M | re.S,
)
RUN = {"python", "console", "sh"}


@dataclass(frozen=True)
class Block:
    """One fenced block; ``mark`` is the HTML comment directly above it."""

    page: Path
    line: int
    language: str
    text: str
    mark: str

    @property
    def name(self):
        """Where it stands."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page):
    """Every fenced block of a page, in order."""
    text = page.read_text("utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, found.start("ticks")) + 1,
            found["language"].strip(),
            textwrap.dedent(found["text"]),
            found["mark"] or "",
        )
        for found in BLOCK.finditer(text)
    ]


def page_mark(page):
    """What one comment says of all blocks of a page: ``<!-- blocks: run by TEST -->``."""
    found = re.search(r"^<!-- blocks: (.*?) -->$", page.read_text("utf-8"), re.M)
    return found[1] if found else ""


def kept(block):
    """Write a block to the file that its mark names."""
    Path(block.mark.removeprefix("file: ")).write_text(block.text, "utf-8")


def run(block, names):
    """Execute a block: Python in the page's namespace, shell lines as calls of the program in this process."""
    if block.language == "python":
        code = "\n" * block.line + block.text  # so that a traceback has the page's line numbers
        exec(compile(code, str(block.page), "exec"), names)
        return
    for line in commands(block):
        run_command(line)


def commands(block):
    """The commands of a shell block: the lines after ``$``, or all of them where none has one."""
    lines = block.text.replace("\\\n", " ").splitlines()
    prompted = [line[2:] for line in lines if line.startswith("$ ")]
    return prompted or [line for line in lines if line.strip() and not line.startswith("#")]


def run_command(line):
    """One ``symdiag`` command, ``> FILE`` included; a finding (exit code 1) is no failure."""
    words = shlex.split(line, comments=True)
    if not words or words[0] != "symdiag":
        raise AssertionError(f"only symdiag's own commands are run here: {line}")
    target = None
    if ">" in words:
        target = Path(words[words.index(">") + 1])
        words = words[: words.index(">")]
    arguments = [a for word in words[1:] for a in _expanded(word)]
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        code = main(arguments)
    if code not in (0, 1):
        raise AssertionError(f"exit code {code}: {line}")
    if target is not None:
        target.write_text(shown.getvalue(), "utf-8")


def _expanded(word):
    """What the shell makes of ``*``."""
    return sorted(map(str, Path().glob(word))) if "*" in word else [word]
