"""Adds the results of a folder to those of `gains.json`. Imports no detector.

Trainings repeat to the digit on the same machine with the same versions. So rows of several
folders can stand in one table if what was trained in both folders agrees.
"""

from collections.abc import Mapping, Sequence
from typing import Any

TOLERANCE = 0.001
"""Largest difference of APs that count as the same."""

Results = Mapping[str, Any]


def merged(stored: Results, found: Results) -> dict[str, Any]:
    """Return stored results with those that were found.

    A data set of which both have a row of the same seed, and no such row differs, is joined row by
    row; another one is replaced, since its rows are compared with each other.
    """
    data = dict(stored.get("data", {}))
    for name, of_data in found["data"].items():
        data[name] = joined(data[name], of_data) if _agree(data.get(name), of_data) else of_data
    return {"data": data, "fidelity": _architectures(stored.get("fidelity", []), found["fidelity"])}


def _architectures(stored: Sequence[Results], found: Sequence[Results]) -> list[Results]:
    """Join architectures by number if those of both folders have the same scores; else what was
    found replaces what is stored."""
    before, new = ({each["number"]: each for each in rows} for rows in (stored, found))
    common = [
        abs(new[number][score] - before[number][score])
        for number in before.keys() & new.keys()
        for score in ("short", "finished")
    ]
    if new and not (common and max(common) <= TOLERANCE):
        return list(found)
    return [row for _, row in sorted({**before, **new}.items())]


def joined(stored: Results, found: Results) -> dict[str, Any]:
    """Return both results of a data set as one, what was found first where both have it. Of two
    differences of the same rows, the one of more seeds is kept."""
    rows = {**stored["rows"]}
    for name, of_row in found["rows"].items():
        rows[name] = dict(sorted({**rows.get(name, {}), **of_row}.items()))
    return {
        "detectors": {**stored["detectors"], **found["detectors"]},
        "rows": rows,
        "differences": _differences(stored["differences"], found["differences"]),
        "judged": _differences(stored.get("judged", ()), found["judged"]),
    }


def _differences(stored: Sequence[Results], found: Sequence[Results]) -> list[Results]:
    by_pair = {(each["first"], each["second"]): each for each in stored}
    for each in found:
        pair = each["first"], each["second"]
        if pair not in by_pair or len(each["by_seed"]) >= len(by_pair[pair]["by_seed"]):
            by_pair[pair] = each
    return list(by_pair.values())


def _agree(stored: Results | None, found: Results) -> bool:
    if stored is None:
        return False
    common = [
        abs(of_seed["test"] - found["rows"][row][seed]["test"])
        for row, of_row in stored["rows"].items()
        for seed, of_seed in of_row.items()
        if seed in found["rows"].get(row, {})
    ]
    return bool(common) and max(common) <= TOLERANCE
