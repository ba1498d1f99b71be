// The values of a sweep as the page shows them.
import { percent } from "./numbers.js";

/** What a student was trained with: a value, the default or a baseline. */
export function valueText({ value, baseline, as_submitted: asSubmitted }) {
  if (baseline !== null) return `baseline ${baseline.replaceAll("_", " ")}`;
  const text = value === null ? "default" : String(value);
  return asSubmitted ? `${text} (as submitted)` : text;
}

/** An AP in percent with its interval: "41.2 [39.0, 43.5]"; null if it was not measured. */
export function withInterval(measured) {
  if (measured === null) return null;
  return measured.low === null ? percent(measured.ap) : `${percent(measured.ap)} [${percent(measured.low)}, ${percent(measured.high)}]`;
}

/** Return labels and APs in percent of the values that have an AP: numbers ascending, others as
 * given. The data are uPlot's: position, validation, test, and both ends of the interval on test. */
export function plotted(students) {
  const shown = students.filter((each) => each.baseline === null && each.ap !== null);
  if (shown.every(({ value }) => typeof value === "number")) shown.sort((one, other) => one.value - other.value);
  const of = (read) => shown.map((each) => scaled(read(each)));
  return {
    labels: shown.map(({ value }) => (value === null ? "default" : String(value))),
    data: [shown.map((_, index) => index), of((each) => each.ap), ...["ap", "low", "high"].map((end) => of(({ test }) => test && test[end]))],
  };
}

const scaled = (ap) => (ap === null ? null : ap * 100);
