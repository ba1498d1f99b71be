"""When a delivery is tried again."""

from searchd.domain.webhooks import MAX_ATTEMPTS, delay_after


def test_attempts_are_farther_and_farther_apart_over_two_days() -> None:
    delays = [delay_after(attempts, chance=0.0) for attempts in range(1, MAX_ATTEMPTS + 1)]
    seconds = [delay.total_seconds() for delay in delays if delay is not None]
    assert seconds == [5, 30, 120, 600, 3600, 21600, 43200, 86400]
    assert delays[-1] is None
    assert MAX_ATTEMPTS == 9


def test_chance_adds_up_to_a_fifth_and_a_receiver_may_ask_for_more() -> None:
    assert delay_after(2, chance=0.5) == delay_after(2, chance=0.0, retry_after_s=33)
    longest = delay_after(1, chance=0.0, retry_after_s=1e9)
    assert longest is not None
    assert longest.total_seconds() == 86400
