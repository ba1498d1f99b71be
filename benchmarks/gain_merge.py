"""Adds the results of a folder to those of `gains.json`. Imports no detector.

Trainings repeat to the digit on the same machine with the same versions. So rows of several
folders can stand in one table if what was trained in both folders agrees. Where it does not, as on
a machine of another kind, new rows stand apart: their gains are over rows of their own folder.
"""

from collections.abc import Mapping, Sequence
from typing import Any

TOLERANCE = 0.001
"""Largest difference of APs that count as the same."""

Results = Mapping[str, Any]


def merged(stored: Results, found: Results) -> dict[str, Any]:
    """Return stored results with those that were found.

    A data set of which both have a row of the same seed, and no such row differs, is joined row by
    row. Another one is replaced if what was found has all its rows; else the rows that only the
    folder has are put beside it.
    """
    data = dict(stored.get("data", {}))
    for name, of_data in found["data"].items():
        before = data.get(name)
        if before is not None and _agree(before, of_data):
            data[name] = joined(before, of_data)
        elif before is None or _covers(of_data, before):
            data[name] = of_data
        else:
            data[name] = beside(before, of_data)
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


def beside(stored: Results, found: Results) -> dict[str, Any]:
    """Return the results of a data set with the rows that only another folder has, and with what
    these rows are compared with there. "apart" names them."""
    new = found["rows"].keys() - stored["rows"].keys()
    of_new = {
        key: [each for each in found[key] if new & {each["first"], each["second"]}]
        for key in ("differences", "judged")
    }
    return {
        **stored,
        "rows": {**stored["rows"], **{name: found["rows"][name] for name in sorted(new)}},
        "differences": [*stored["differences"], *of_new["differences"]],
        "judged": [*stored.get("judged", ()), *of_new["judged"]],
        "apart": sorted({*stored.get("apart", ()), *new}),
    }


def joined(stored: Results, found: Results) -> dict[str, Any]:
    """Return both results of a data set as one, what was found first where both have it. Of two
    differences of the same rows, the one of more seeds is kept."""
    rows = {**stored["rows"]}
    for name, of_row in found["rows"].items():
        rows[name] = dict(sorted({**rows.get(name, {}), **of_row}.items()))
    return {
        **stored,
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


def _covers(found: Results, stored: Results) -> bool:
    return all(
        of_row.keys() <= found["rows"].get(row, {}).keys() for row, of_row in stored["rows"].items()
    )


def _agree(stored: Results, found: Results) -> bool:
    common = [
        abs(of_seed["test"] - found["rows"][row][seed]["test"])
        for row, of_row in stored["rows"].items()
        for seed, of_seed in of_row.items()
        if seed in found["rows"].get(row, {})
    ]
    return bool(common) and max(common) <= TOLERANCE
