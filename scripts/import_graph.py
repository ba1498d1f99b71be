"""Count the imports between the folders of the source: python scripts/import_graph.py [ROOT].

Prints, for the top level and for each folder that has folders, how many parts there are, how many
pairs of parts import one another ("arrows"), and which arrows run both ways.
"""

import sys
from pathlib import Path

import grimp

TOP = ("cli", "api", "workers", "elastic_pool", "detection", "searchd")


def arrows(graph: grimp.ImportGraph, parts: list[str]) -> set[tuple[str, str]]:
    """Which part imports which other one, by at least one file."""
    return {
        (importer, imported)
        for importer in parts
        for imported in parts
        if importer != imported
        and any(
            graph.find_modules_directly_imported_by(module)
            & ({imported} | graph.find_descendants(imported))
            for module in {importer} | graph.find_descendants(importer)
        )
    }


def describe(name: str, parts: list[str], found: set[tuple[str, str]]) -> str:
    """One line about the parts of a folder."""
    both = sorted(pair for pair in found if pair[0] < pair[1] and pair[::-1] in found)
    shown = ", ".join(f"{one} <-> {other}" for one, other in both) or "none"
    return f"{name}: {len(parts)} parts, {len(found)} arrows, both ways: {shown}"


def main(root: Path) -> None:
    """Print the counts of a source tree."""
    sys.path.insert(0, str(root))
    tops = [top for top in TOP if (root / top / "__init__.py").exists()]
    graph = grimp.build_graph(*tops, cache_dir=None)
    sys.stdout.write(describe("top level", tops, arrows(graph, tops)) + "\n")
    for folder in (*tops, "searchd.store", "searchd.domain"):
        parts = sorted(graph.find_children(folder))
        sys.stdout.write(describe(folder, parts, arrows(graph, parts)) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve())
