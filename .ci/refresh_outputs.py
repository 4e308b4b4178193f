"""Paste real output into the docs: blocks that follow ``<!-- output: COMMAND -->`` are replaced by what COMMAND prints.

A first line ``$ COMMAND`` in the block is for the reader and stays. ``python .ci/refresh_outputs.py [FILE …]``;
with ``--check`` nothing is written and a difference fails.
"""

import functools
import re
import subprocess
import sys
from pathlib import Path

BLOCK = re.compile(
    r"(<!-- output: (?P<command>.*?) -->\n```\w*\n(?:\$ [^\n]*\n)?)(?P<text>.*?)(```)", re.S
)


def printed(match: re.Match) -> str:
    """The block with the command's present output (stdout; any exit code)."""
    # several blocks of a page show parts of one report: it is made once
    first, _, rest = match["command"].partition(" | ")
    text = output(first)
    if rest:
        text = subprocess.run(
            ["bash", "-c", rest], input=text, capture_output=True, text=True, check=False
        ).stdout
    return f"{match[1]}{text.rstrip()}\n{match[4]}"


@functools.cache
def output(command: str) -> str:
    """What a command prints."""
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    # a program that is not there must not empty the page
    if not done.stdout:
        raise SystemExit(f"{command}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def main(arguments: list) -> int:
    """Refresh or check every file named (default: README and docs)."""
    check = "--check" in arguments
    names = [a for a in arguments if a != "--check"]
    files = [Path(n) for n in names] or [Path("README.md"), *sorted(Path("docs").rglob("*.md"))]
    stale = []
    for file in files:
        before = file.read_text(encoding="utf-8")
        after = BLOCK.sub(printed, before)
        if after != before:
            stale.append(str(file))
            if not check:
                file.write_text(after, encoding="utf-8")
    print("\n".join(f"{'stale' if check else 'refreshed'}: {name}" for name in stale))
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
