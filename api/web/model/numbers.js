// Figures as people read them. An absent figure is a dash.
export const NONE = "–";

const isAbsent = (value) => value === null || value === undefined || Number.isNaN(value);

/** An AP or a score in percent: 0.4213 is "42.1". COCO's -1, for no such object, is a dash. */
export function percent(value, digits = 1) {
  return isAbsent(value) || value < 0 ? NONE : (value * 100).toFixed(digits);
}

/** A difference of APs in points, with its sign: 0.012 is "+1.2". */
export function points(value, digits = 1) {
  if (isAbsent(value)) return NONE;
  const text = (value * 100).toFixed(digits);
  return Number(text) > 0 ? `+${text}` : text.replace("-", "−");
}

/** Three significant digits without an exponent: 0.0123, 1.23, 123, 12300. */
export function significant(value, digits = 3) {
  if (isAbsent(value)) return NONE;
  return Number(value.toPrecision(digits)).toLocaleString("en", { maximumSignificantDigits: digits, useGrouping: false });
}

/** A tick of an axis with as many digits as the step between ticks needs: 0.0115 where it is 0.0005. */
export const tick = (value, step) => value.toFixed(Math.max(0, Math.ceil(-Math.log10(step) - 1e-9) + (leads25(step) ? 1 : 0)));

const leads25 = (step) => Number(step.toExponential(1).slice(0, 3)) === 2.5;

export const giga = (value) => (isAbsent(value) ? NONE : significant(value / 1e9));
export const mega = (value) => (isAbsent(value) ? NONE : significant(value / 1e6));
export const milliseconds = (value) => (isAbsent(value) ? NONE : significant(value * 1e3));

/** A size in bytes: 2.5 MB. */
export function bytes(value) {
  if (isAbsent(value)) return NONE;
  const power = value < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(value) / 3));
  return `${significant(value / 1000 ** power)} ${["B", "kB", "MB", "GB", "TB"][power]}`;
}

/** A length of time: 45 s, 12 min, 3 h 20 min, 2 d 4 h. */
export function duration(seconds) {
  if (isAbsent(seconds)) return NONE;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 48 * 60) return joined(Math.floor(minutes / 60), "h", minutes % 60, "min");
  const hours = minutes < 14_400 ? Math.floor((minutes % 1440) / 60) : 0; // of ten days and more they say nothing
  return joined(Math.floor(minutes / 1440), "d", hours, "h");
}

const joined = (large, unit, small, smallUnit) => `${large} ${unit}${small ? ` ${small} ${smallUnit}` : ""}`;

/** How long ago a time was, or the date if that is days: "5 min ago". */
export function ago(text, now = Date.now()) {
  if (isAbsent(text)) return NONE;
  const seconds = (now - new Date(text)) / 1000;
  if (seconds < 10) return "just now";
  return seconds < 2 * 86_400 ? `${duration(seconds)} ago` : new Date(text).toLocaleDateString();
}

/** "1 trial", "3 trials". */
export const count = (number, noun, nouns = `${noun}s`) => `${number.toLocaleString("en")} ${number === 1 ? noun : nouns}`;

/** A word of the API for people: "macs-control" is "macs control". */
export const words = (text) => (isAbsent(text) ? NONE : text.replaceAll(/[_-]/g, " "));
