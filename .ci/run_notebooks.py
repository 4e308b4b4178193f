"""Run the notebooks of docs/notebooks and keep what their cells print, show and draw.

In this interpreter rather than in a Jupyter kernel: the cells are plain Python, and the tests run them alike.
"""

import ast
import contextlib
import io
import json
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "docs/notebooks"


def execute(notebook):
    """Run every cell in one namespace, replace the outputs, and return the namespace."""
    namespace = {"__name__": "__main__"}
    count = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            count += 1
            cell["execution_count"] = count
            cell["outputs"] = _outputs("".join(cell["source"]), namespace, count)
    return namespace


def _outputs(source, namespace, count):
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, f"<cell {count}>", "exec"), namespace)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), f"<cell {count}>", "eval"), namespace)
    outputs = []
    if printed.getvalue():
        outputs.append(
            {"output_type": "stream", "name": "stdout", "text": _lines(printed.getvalue())}
        )
    if value is not None:
        data = {kind: _lines(text) for kind, text in _shown(value).items()}
        outputs.append(
            {
                "output_type": "execute_result",
                "execution_count": count,
                "metadata": {},
                "data": data,
            }
        )
    return outputs


def _shown(value):
    """What a notebook would show of the last value of a cell, by kind."""
    found = {"text/plain": repr(value)}
    if hasattr(value, "savefig"):
        # SVG whose text is text and whose ids are the same at every run
        picture = io.StringIO()
        value.savefig(picture, format="svg", metadata={"Date": None})
        found["image/svg+xml"] = picture.getvalue()
    elif hasattr(value, "_repr_html_"):
        found["text/html"] = value._repr_html_()
    return found


def _lines(text):
    return text.splitlines(keepends=True)


def main():
    """Rewrite every notebook with its outputs."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "symdiag"})
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = json.loads(path.read_text("utf-8"))
        execute(notebook)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
