"""Notebooks as pages: cells as Markdown, code blocks and what they printed or drew."""

import base64
import html
import json


def pages(folder):
    """Page → Markdown: one per notebook, and the gallery that lists them."""
    found = {f"notebooks/{f.stem}.md": page(f) for f in sorted(folder.glob("*.ipynb"))}
    if not found:
        return {}
    rows = []
    for file in sorted(folder.glob("*.ipynb")):
        first = "".join(json.loads(file.read_text("utf-8"))["cells"][0]["source"])
        title, _, about = first.partition("\n")
        rows.append(
            f"- [{title.lstrip('# ')}]({file.stem}.md): {about.strip().split(chr(10) * 2)[0]}"
        )
    gallery = "# Notebooks\n\n" + "\n".join(rows) + "\n"
    return {"notebooks/index.md": gallery, **found}


def page(file):
    """One notebook as Markdown, with a link to the file itself."""
    notebook = json.loads(file.read_text("utf-8"))
    parts = [_cell(cell) for cell in notebook["cells"]]
    parts.insert(1, f"[Download the notebook]({file.name})")
    return "\n\n".join(p for p in parts if p) + "\n"


def _cell(cell):
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return source
    if cell["cell_type"] != "code" or not source.strip():
        return ""
    shown = [f"```python\n{source}\n```", *map(_output, cell.get("outputs", []))]
    return "\n\n".join(s for s in shown if s)


def _output(output):
    data = output.get("data", {})
    text = {kind: "".join(v) if isinstance(v, list) else v for kind, v in data.items()}
    if "image/svg+xml" in text:
        return _image("svg+xml", base64.b64encode(text["image/svg+xml"].encode()).decode())
    if "image/png" in text:
        return _image("png", text["image/png"].replace("\n", ""))
    if "text/html" in text:
        # one block of raw HTML: Markdown ends it at an empty line
        return (
            "<div>\n"
            + "\n".join(line for line in text["text/html"].splitlines() if line.strip())
            + "\n</div>"
        )
    printed = text.get("text/plain") or "".join(output.get("text", []))
    return f"<pre>{html.escape(printed)}</pre>" if printed.strip() else ""


def _image(kind, encoded):
    return f'<img alt="figure" src="data:image/{kind};base64,{encoded}">'
