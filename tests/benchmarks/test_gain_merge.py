"""Results of several folders in one table."""

from typing import Any

from benchmarks.gain_merge import merged


def data(rows: dict[str, dict[str, float]], *differences: tuple[str, list[str]]) -> dict[str, Any]:
    return {
        "detectors": {},
        "rows": {
            name: {seed: {"test": ap} for seed, ap in of_row.items()}
            for name, of_row in rows.items()
        },
        "differences": [
            {"first": first, "second": "none", "by_seed": dict.fromkeys(seeds, 0.1)}
            for first, seeds in differences
        ],
        "judged": [],
    }


def test_results_of_another_folder_replace_a_data_set_and_keep_the_others() -> None:
    one, other, new = (data({"none": {"0": ap}}) for ap in (0.1, 0.2, 0.3))
    stored = {"data": {"bccd": one, "shapes-96": other}, "fidelity": [{"number": 0}]}

    found = merged(stored, {"data": {"shapes-96": new}, "fidelity": []})

    assert found == {"data": {"bccd": one, "shapes-96": new}, "fidelity": [{"number": 0}]}


def test_folders_that_agree_on_their_common_rows_are_joined_row_by_row() -> None:
    stored = data({"none": {"0": 0.3001, "1": 0.2}, "fgd": {"0": 0.4}}, ("fgd", ["0"]))
    new = data({"none": {"0": 0.3}, "mgd": {"0": 0.5}}, ("mgd", ["0"]))

    found = merged({"data": {"tiny": stored}}, {"data": {"tiny": new}, "fidelity": []})

    assert found["data"]["tiny"] == data(
        {"none": {"0": 0.3, "1": 0.2}, "fgd": {"0": 0.4}, "mgd": {"0": 0.5}},
        ("fgd", ["0"]),
        ("mgd", ["0"]),
    )


def test_new_rows_of_a_folder_that_disagrees_stand_apart_with_their_own_differences() -> None:
    stored = data({"none": {"0": 0.3}, "fgd": {"0": 0.4}}, ("fgd", ["0"]))
    new = data({"none": {"0": 0.31}, "mgd": {"0": 0.45}}, ("mgd", ["0"]))

    found = merged({"data": {"tiny": stored}}, {"data": {"tiny": new}, "fidelity": []})

    expected = data(
        {"none": {"0": 0.3}, "fgd": {"0": 0.4}, "mgd": {"0": 0.45}}, ("fgd", ["0"]), ("mgd", ["0"])
    )
    assert found["data"]["tiny"] == {**expected, "apart": ["mgd"]}


def test_a_data_set_is_replaced_by_a_folder_that_has_all_its_rows() -> None:
    stored = data({"none": {"0": 0.3}, "fgd": {"0": 0.4}}, ("fgd", ["0"]))
    new = data({"none": {"0": 0.31, "1": 0.3}, "fgd": {"0": 0.5}, "mgd": {"0": 0.4}})

    found = merged({"data": {"tiny": stored}}, {"data": {"tiny": new}, "fidelity": []})

    assert found["data"]["tiny"] == new


def test_of_two_differences_of_the_same_rows_the_one_of_more_seeds_is_kept() -> None:
    rows = {"none": {"0": 0.3}, "fgd": {"0": 0.4}}
    stored, new = data(rows, ("fgd", ["0", "1", "2"])), data(rows, ("fgd", ["0"]))

    found = merged({"data": {"tiny": stored}}, {"data": {"tiny": new}, "fidelity": []})

    assert found["data"]["tiny"]["differences"] == stored["differences"]


def test_architectures_of_folders_that_agree_are_joined_by_number() -> None:
    one, two, three = (
        {"number": number, "short": 0.3, "finished": 0.4, "test": 0.4} for number in range(3)
    )
    other = one | {"finished": 0.5}

    def joined(*found: dict[str, float]) -> list[dict[str, float]]:
        merged_rows = merged({"fidelity": [one, two]}, {"data": {}, "fidelity": [*found]})
        return list(merged_rows["fidelity"])

    assert joined(one, three) == [one, two, three]
    assert joined(other) == [other]
    assert joined(three) == [three]  # nothing shows that it is comparable
    assert joined() == [one, two]
