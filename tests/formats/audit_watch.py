"""Watch what a stretch of code does: imports, calls into the system, files, processes."""

import sys
from typing import Any

# What unpickling would raise on its way to harm; reading bytes in memory raises none of them.
ACTIONS = (
    "import", "exec", "compile", "open", "os.", "subprocess.", "socket.", "ctypes.", "pickle.", "marshal.",
    "code.", "shutil.", "tempfile.", "sqlite3.", "webbrowser.", "urllib.", "pty.", "signal.", "object.__",
    "builtins.input", "builtins.breakpoint", "sys.", "function.",
)  # fmt: skip
_events: list[str] = []
_watching = False


def _hook(event: str, args: Any) -> None:
    if _watching and event.startswith(ACTIONS):
        _events.append(f"{event} {args!r:.80}")


sys.addaudithook(_hook)  # for good: Python has no way to take one back


class Watched:
    """The actions taken while it is entered, modules imported included."""

    def __enter__(self) -> list[str]:
        global _watching
        _events.clear()
        self.modules = set(sys.modules)
        _watching = True
        return _events

    def __exit__(self, *_: object) -> None:
        global _watching
        _watching = False
        _events.extend(f"imported {name}" for name in set(sys.modules) - self.modules)
