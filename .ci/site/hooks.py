"""What MkDocs does not do by itself: generated pages, links out of docs/, mathematics as MathML, a check of the result.

Pages are generated from what the program says of itself (commands, codes, schemas) and from Markdown elsewhere in the
repository, so that nothing is written twice. Mathematics becomes MathML while the site is built: browsers draw it
without a script or a font of ours, and it can be copied and read aloud.
"""

import html
import os
import posixpath
import re
import sys
from pathlib import Path

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import notebooks  # noqa: E402
import references  # noqa: E402
from latex2mathml.converter import convert  # noqa: E402

# Markdown outside docs/ that has a page of its own
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
    "examples/README.md": "examples.md",
    "sample_models/README.md": "sample-models.md",
    **{(p := f.relative_to(ROOT).as_posix()): p for f in sorted(ROOT.glob("benchmarks/**/*.md"))},
}
HOME = {page: source for source, page in PAGES.items()}
FENCE = re.compile(r"(^ *(`{3,}).*?^ *\2 *$)", re.M | re.S)
# pictures in raw HTML, such as README's for light and dark
SOURCE = re.compile(r'\b(src|srcset)="([^":]+)"')
LINK = re.compile(r"(!?)\[((?:[^][]|\[[^]]*\])*)\]\(([^)\s]+)\)")


def on_config(config):
    """The gallery comes into the menu with its first notebook."""
    made = list(notebooks.pages(ROOT / "docs/notebooks"))
    if made:
        config.nav.insert(3, {"Notebooks": made})
    return config


def on_files(files, config):
    """Add the generated pages, and files of the repository that pages link to."""
    pages = {page: (ROOT / source).read_text("utf-8") for source, page in PAGES.items()}
    pages |= references.pages()
    pages |= notebooks.pages(ROOT / "docs/notebooks")
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    for file in sorted(ROOT.glob("symdiag/report/schema/*.json")):
        files.append(File.generated(config, f"schemas/{file.name}", abs_src_path=str(file)))
    texts = {f.src_uri: f.content_string for f in files.documentation_pages()}
    for name in sorted({t for page, text in texts.items() for t in _outside(page, text)}):
        files.append(File.generated(config, f"repository/{name}", abs_src_path=str(ROOT / name)))
    return files


def _outside(page, text):
    """Repository files without a page of their own that ``page`` links to."""
    for part in FENCE.split(text)[::3]:
        for _, _, target in LINK.findall(part):
            path = _in_repository(page, target)
            has_page = path is None or path in PAGES or path.startswith("docs/")
            if not has_page and (ROOT / path).is_file():
                yield path


def _in_repository(page, target):
    """The path that a link means, from the repository's root; none if it stays within docs/ or leaves the site."""
    target = target.partition("#")[0]
    if not target or re.match(r"[a-z]+:", target):
        return None
    home = HOME.get(page, f"docs/{page}")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(home), target))
    # a page of docs/ that links within docs/ is left to MkDocs
    return None if path.startswith("docs/") and page not in HOME else path


def on_page_markdown(markdown, page, **_):
    """Point links at pages of the site; folders of the repository, which have none, become text."""
    uri = page.file.src_uri

    def moved(found):
        path = _in_repository(uri, found[3])
        if path is None:
            return found[0]
        if (ROOT / path).is_dir():
            return f"{found[2]} (`{path}`)"
        anchor = found[3].partition("#")[2]
        return f"{found[1]}[{found[2]}]({_goal(path, uri)}{'#' + anchor if anchor else ''})"

    def drawn(found):
        path = _in_repository(uri, found[2])
        return found[0] if path is None else f'{found[1]}="{_goal(path, uri)}"'

    parts = FENCE.split(markdown)
    # every third part is a fence's ticks alone, the one before it the fence
    return "".join(
        SOURCE.sub(drawn, LINK.sub(moved, p)) if i % 3 == 0 else p
        for i, p in enumerate(parts)
        if i % 3 < 2
    )


def _goal(path, page):
    """Where a file of the repository is on the site, as seen from ``page``."""
    goal = path.removeprefix("docs/") if path.startswith("docs/") else None
    return os.path.relpath(
        goal or PAGES.get(path, f"repository/{path}"), posixpath.dirname(page) or "."
    )


MATH = re.compile(r'<(span|div) class="arithmatex">(?:\\\((.*?)\\\)|\\\[(.*?)\\\])</\1>', re.S)


def on_page_content(content, page, **_):
    """LaTeX to MathML."""

    def typeset(found):
        inline, display = found[2], found[3]
        text = html.unescape(inline if inline is not None else display).strip()
        mode = "inline" if inline is not None else "block"
        try:
            made = _spaced(convert(text, display=mode))
            return made if inline is not None else f'<div class="formula">{made}</div>'
        except Exception as error:
            raise PluginError(f"{page.file.src_uri}: cannot typeset {text!r}: {error}") from error

    return MATH.sub(typeset, content)


# a name of a function and what it is applied to, such as log P
FUNCTION = re.compile(
    r"<mi>(log|exp|min|max|det|tr|perm)</mi>(?=<m(?:i|n|sub|sup|row|under|over|frac|subsup)\b)"
)

DRAWN = {
    ">&#x0007C;</mo>": ' lspace="0" rspace="0">&#x0007C;</mo>',
    "&#x02216;": "\\",  # few fonts have the other one
    "<mi>:</mi><mo>&#x0003D;</mo>": "<mo>&#x2254;</mo>",
}


def _spaced(mathml):
    """What the converter leaves to the browser, which cannot know it: thin spaces, and bars that enclose."""
    spaced = FUNCTION.sub(r'\g<0><mspace width="0.1667em"/>', mathml)
    for written, drawn in DRAWN.items():
        spaced = spaced.replace(written, drawn)
    return spaced


ASKED = re.compile(
    r'<(?:script|img|iframe|link|source|video)\b[^>]*?\b(?:src|href)="((?:https?:)?//[^"]+)"[^>]*>'
)


LOCAL = re.compile(
    r'<(?:script|img|link|source)\b[^>]*?\b(?:src|srcset|href)="(?![a-z]+:|#)([^"#?]+)'
)


def on_post_build(config, **_):
    """A page that would ask another host for anything, or for a file that is not there, fails the build."""
    for file in sorted(Path(config.site_dir).rglob("*.html")):
        text = file.read_text("utf-8")
        for found in ASKED.finditer(text):
            if 'rel="canonical"' not in found[0]:
                raise PluginError(f"{file.name} loads {found[1]}")
        # the error page is served from anywhere, so its paths start at the root
        for found in LOCAL.finditer(text) if file.name != "404.html" else ():
            if not (file.parent / found[1]).exists():
                raise PluginError(f"{file.name} lacks {found[1]}")
