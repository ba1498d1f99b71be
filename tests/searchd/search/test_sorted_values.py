"""A sorted sequence as a value, compared with a sorted list."""

from hypothesis import given, settings
from hypothesis import strategies as st

from searchd.search.sorted_values import SortedValues
from tests.strength import examples

KEYS = st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=80)


@settings(max_examples=examples(20, 300), deadline=None)
@given(KEYS)
def test_values_are_in_the_order_of_their_keys_whatever_was_added_and_removed(
    changes: list[tuple[bool, int]],
) -> None:
    found, expected = SortedValues[str](), dict[int, str]()
    for is_added, key in changes:
        earlier, kept = found, [expected[each] for each in sorted(expected)]
        if is_added:
            found, expected = found.added(key, str(key)), {**expected, key: str(key)}
        else:
            found = found.removed(key)
            expected = {each: text for each, text in expected.items() if each != key}
        ordered = [expected[each] for each in sorted(expected)]
        assert list(found) == ordered
        assert [found[index] for index in range(len(found))] == ordered
        assert found[:3] == ordered[:3]
        assert list(earlier) == kept


def test_depth_grows_with_the_logarithm_of_the_number_of_values() -> None:
    found = SortedValues[int]()
    for key in range(2000):  # in the order that is worst for a tree without balance
        found = found.added(key, key)

    depth, node = 0, found._root
    while node is not None:
        depth, node = depth + 1, node.right
    assert depth <= 20  # 2.5 times the logarithm at most (Hirai and Yamamoto 2011)
