import { ago, bytes, count, duration, percent, points, significant, tick } from "/model/numbers.js";
import { equal } from "./equal.js";

export function an_ap_is_shown_in_percent() {
  equal([percent(0.4213), percent(0.4213, 2), percent(0)], ["42.1", "42.13", "0.0"]);
}

export function what_was_not_measured_is_a_dash() {
  equal([percent(null), percent(-1), significant(undefined), duration(null)], ["–", "–", "–", "–"]);
}

export function a_difference_has_its_sign() {
  equal([points(0.012), points(-0.012), points(0.0001)], ["+1.2", "−1.2", "0.0"]);
}

export function figures_have_three_significant_digits_without_an_exponent() {
  equal([significant(0.00012345), significant(1.2345), significant(123456)], ["0.000123", "1.23", "123000"]);
}

export function sizes_and_times_have_the_unit_that_people_use() {
  equal([bytes(999), bytes(2_500_000)], ["999 B", "2.5 MB"]);
  equal([duration(45), duration(720), duration(12_000), duration(187_200)], ["45 s", "12 min", "3 h 20 min", "2 d 4 h"]);
}

export function a_time_is_told_from_now() {
  const now = Date.parse("2026-01-02T03:04:05Z");
  equal([ago("2026-01-02T03:04:00Z", now), ago("2026-01-02T02:59:05Z", now)], ["just now", "5 min ago"]);
}

export function ticks_have_the_digits_that_tell_them_apart() {
  equal([tick(0.0115, 0.0005), tick(0.0125, 0.0025), tick(37.5, 0.5), tick(40, 10), tick(0.2, 0.1)], ["0.0115", "0.0125", "37.5", "40", "0.2"]);
}

export function a_number_of_things_is_in_the_plural_unless_it_is_one() {
  equal([count(1, "trial"), count(10_000, "trial"), count(2, "entry", "entries")], ["1 trial", "10,000 trials", "2 entries"]);
}
