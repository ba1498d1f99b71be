"""Citations of docs/papers.md resolve to its headings, and no other numbering of papers is used."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAPERS = ROOT / "docs" / "papers.md"
FOLDERS = (
    ".ci",
    "api",
    "benchmarks",
    "cli",
    "deploy",
    "detection",
    "docs",
    "elastic_pool",
    "examples",
    "scripts",
    "searchd",
    "tests",
    "workers",
)
"""Every folder with tracked files."""
CITING = frozenset({".json", ".md", ".py", ".yaml"})
"""Suffixes of files that cite papers."""
TEXT = CITING | {"", ".css", ".html", ".js", ".mako", ".toml", ".yml"}

# What may stand between the words of a citation that is broken over lines, also in a comment.
_GAP = r"\s+(?:#\s+)?"
_SECTION = r"[0-9](?:\.[0-9]{1,2})?(?![0-9.]*[0-9A-Za-z%])"
_CITATION = re.compile(
    rf"papers\.md{_GAP}({_SECTION}(?:\s+\([0-9]\))?"
    rf"(?:(?:,(?:{_GAP}and)?|{_GAP}and|{_GAP}to){_GAP}{_SECTION}(?:\s+\([0-9]\))?)*)"
)
_HEADING = re.compile(r"^#{2,3} ([0-9](?:\.[0-9]{1,2})?)\.? ", re.MULTILINE)

OTHER_NUMBERINGS = {
    "requirement id": re.compile(r"\b(?:JD|MP|GD|IC|DI|BG)-[0-9]{2}\b"),
    "paper number": re.compile(r"\bpapers? 00[0-9]\b|\(00[0-9][),;]"),
    "decision id": re.compile(
        r"\b[Dd]ecisions?\s+[A-D][0-9]{1,2}\b|\b7\.[1-4]\s+[A-D][0-9]{1,2}\b"
    ),
}


def citations(text: str) -> list[str]:
    """The sections of docs/papers.md that a text cites, in order: ["1.4", "1.5"]."""
    return [
        section
        for found in _CITATION.finditer(text)
        for section in re.findall(r"(?<!\()\b[0-9](?:\.[0-9]{1,2})?", found.group(1))
    ]


def unresolved(text: str, headings: frozenset[str]) -> list[str]:
    """The cited sections that have no heading."""
    return [section for section in citations(text) if section not in headings]


def headings() -> frozenset[str]:
    """The numbers of all headings of docs/papers.md."""
    return frozenset(_HEADING.findall(PAPERS.read_text(encoding="utf-8")))


def files(suffixes: frozenset[str]) -> Iterator[Path]:
    """The repository's text files, this one excepted: it holds examples of every mistake."""
    within = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
    for path in sorted([*ROOT.glob("*.*"), *within]):
        if path.suffix in suffixes and path.is_file() and path != Path(__file__):
            yield path


def test_citations_are_found_in_every_form() -> None:
    text = '''"""Blocks (papers.md 1.4, 1.5); see docs/papers.md 2.4 and 2.6.

    One mask for a group (docs/papers.md 1.5 (3), 1.7), whose rank is that of docs/papers.md
    2.7. The matrix of docs/papers.md 5.3's crop; papers.md 6.

    # A comment that cites docs/papers.md
    # 3.1, 3.2 and 3.5, with 4 heads.
    """'''

    assert citations(text) == [
        *("1.4", "1.5", "2.4", "2.6", "1.5", "1.7", "2.7", "5.3", "6", "3.1", "3.2", "3.5")
    ]


def test_file_names_and_links_are_no_citations() -> None:
    assert citations("[papers](papers.md), `docs/papers.md`; docs/papers.md has 9 parts") == []


def test_section_without_heading_is_reported() -> None:
    known = frozenset({"1.4", "6"})

    assert unresolved("docs/papers.md 1.4, 9.9 and docs/papers.md 6", known) == ["9.9"]


def test_headings_are_read_with_and_without_subsections() -> None:
    assert {"0", "0.1", "1.12", "6", "7.4"} <= headings()
    assert "1.13" not in headings()


def test_every_citation_resolves() -> None:
    known = headings()
    texts = {path: path.read_text(encoding="utf-8") for path in files(CITING)}

    assert sum(len(citations(text)) for text in texts.values()) >= 100
    assert {
        str(path.relative_to(ROOT)): found
        for path, text in texts.items()
        if (found := unresolved(text, known))
    } == {}


@pytest.mark.parametrize("name", OTHER_NUMBERINGS)
def test_papers_have_no_other_numbering(name: str) -> None:
    pattern = OTHER_NUMBERINGS[name]
    texts = {path: path.read_text(encoding="utf-8") for path in files(TEXT)}

    assert len(texts) >= 100
    assert {
        str(path.relative_to(ROOT)): found
        for path, text in texts.items()
        if (found := pattern.findall(text))
    } == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("requirement id", "The right victim (papers.md 1.5, JD-05)."),
        ("paper number", "Several teachers (MTPD, paper 003)."),
        ("paper number", "Joint-DetNAS (004) section 3.2.1"),
        ("paper number", "KD_cls (000; docs/papers.md 5.2)"),
        ("decision id", "per element (decision B3)"),
        ("decision id", "docs/papers.md 7.1\n    A15"),
    ],
)
def test_other_numbering_is_recognised(name: str, text: str) -> None:
    assert OTHER_NUMBERINGS[name].search(text)
