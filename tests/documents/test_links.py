"""Links between the Markdown files of the repository lead somewhere, anchors included."""

import re

import pytest
from blocks import BLOCK, PAGES, ROOT

# the same syntax as .ci/site/hooks.py reads; code spans hold no links
LINK = re.compile(r"\[(?:[^][]|\[[^]]*\])*\]\(([^)\s]+)\)")
EVERY = sorted({*PAGES, *ROOT.glob("benchmarks/**/*.md")})


def prose(page):
    """The text without fenced blocks and code spans."""
    return re.sub(r"`[^`\n]*`", "code", BLOCK.sub("", page.read_text("utf-8")))


def anchors(page):
    """What GitHub and MkDocs make of the headings."""
    text = BLOCK.sub("", page.read_text("utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", EVERY, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    dead = []
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        if not goal.exists() or (anchor and anchor not in anchors(goal)):
            dead.append(target)
    assert dead == []


@pytest.mark.parametrize("folder", ["docs", "benchmarks"])
def test_every_page_is_in_the_menu_of_the_site(folder):
    """MkDocs' strict build says the same, but only in CI."""
    menu = re.findall(r"[\w./-]+\.md", (ROOT / "mkdocs.yml").read_text("utf-8"))
    pages = (p.relative_to(ROOT) for p in ROOT.glob(f"{folder}/**/*.md"))
    # the menu counts from docs/
    named = {p.as_posix().removeprefix("docs/") for p in pages if "reports" not in p.parts}
    assert named <= set(menu)
