"""The shape of the code: sizes, comments, privacy and the price of ``--help``, measured on the sources themselves."""

import ast
import io
import statistics
import subprocess
import sys
import tokenize
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "symdiag"


@cache
def sources():
    """Path → text of every module of the package."""
    return {path: path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def trees():
    return {path: ast.parse(text) for path, text in sources().items()}


def functions():
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield path, node


def body_lines(node):
    """Lines of a function without its docstring and signature."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return 0 if not body else node.end_lineno - body[0].lineno + 1


def comment_lines(text):
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return len({token.start[0] for token in tokens if token.type == tokenize.COMMENT})


def test_files_are_few_and_full():
    """A file for every 130 lines at most, rooms of one-file variants included."""
    lengths = [len(text.splitlines()) for text in sources().values()]
    assert len(lengths) <= sum(lengths) / 130
    assert statistics.median(lengths) >= 100
    assert max(lengths) <= 350


def test_functions_fit_on_a_screen():
    sizes = [(body_lines(node), path, node.name) for path, node in functions()]
    long = [entry for entry in sizes if entry[0] > 50]
    assert len(long) <= 0.01 * len(sizes), long


def test_lines_fit_beside_each_other():
    lines = [line for text in sources().values() for line in text.splitlines()]
    assert sum(len(line) > 100 for line in lines) <= 0.01 * len(lines)


def test_comments_say_why_often_enough():
    lines = sum(len(text.splitlines()) for text in sources().values())
    assert sum(map(comment_lines, sources().values())) >= 0.03 * lines


def package_of(path):
    """Dotted name of the package that a module stands in (of itself for an ``__init__``)."""
    return ".".join(path.relative_to(ROOT).parent.parts)


def imported(tree):
    """(module, name or None, line) of every import statement."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from ((node.module, alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, None, node.lineno) for alias in node.names)


def is_private(part):
    return part.startswith("_") and not part.startswith("__") and part != "_version"


def test_private_modules_and_names_stay_at_home():
    """``_module`` and ``_name`` of a package are imported from within that package only."""
    trespassers = []
    for path, tree in trees().items():
        for module, name, line in imported(tree):
            if not module.startswith("symdiag"):
                continue
            parts = [*module.split("."), *([name] if name else [])]
            first = next((k for k, part in enumerate(parts) if is_private(part)), None)
            if first is not None and not package_of(path).startswith(".".join(parts[:first])):
                trespassers.append(f"{path.relative_to(ROOT)}:{line} imports {'.'.join(parts)}")
    assert not trespassers, "\n".join(trespassers)


def imported_by(arguments):
    """Names of all modules loaded by a run of the command line in a process of its own."""
    code = (
        "import sys\nfrom symdiag.cli.main import main\n"
        f"main({arguments!r})\nprint('\\n' + ' '.join(sys.modules), file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return set(ran.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["analyze", "--help"],
        ["retrain", "--help"],
        ["explain", "SYM001"],
        ["schema", "analyze"],
    ],
    ids=" ".join,
)
def test_help_stays_free_of_the_heavy_libraries(arguments):
    assert not imported_by(arguments) & {"torch", "scipy", "numba", "matplotlib", "pandas"}
