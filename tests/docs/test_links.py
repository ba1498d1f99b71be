"""Links, anchors and paths that the documents name lead somewhere."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
TOPS = (
    "api|benchmarks|cli|deploy|detection|docs|elastic_pool|examples|scripts|searchd|tests|workers"
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(rf"`((?:{TOPS})/[\w./-]+)(?::\d+)?`")
HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """As GitHub makes them: lower case, without punctuation, blanks become hyphens."""
    headings = HEADING.findall(document.read_text())
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def broken_links(document: Path) -> Iterator[str]:
    for link in LINK.findall(document.read_text()):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        file = (document.parent / target).resolve() if target else document
        if not file.exists():
            yield f"{link}: no such file"
        elif anchor and file.suffix == ".md" and anchor not in anchors(file):
            yield f"{link}: no such heading"


def missing_paths(document: Path) -> Iterator[str]:
    for path in PATH.findall(document.read_text()):
        if not (ROOT / path).exists():
            yield path


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_and_path_leads_somewhere(document: Path) -> None:
    assert [*broken_links(document), *missing_paths(document)] == []


def test_what_leads_nowhere_is_found(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("# One\n[x](#one) [y](#two) [z](b.md) `searchd/nowhere.py` `searchd/spec/`")
    assert [*broken_links(document)] == ["#two: no such heading", "b.md: no such file"]
    assert [*missing_paths(document)] == ["searchd/nowhere.py"]
