// Specs as YAML text and back, with errors that name the line.
import { dump, load } from "js-yaml";

export const toYaml = (spec) => dump(withoutNulls(spec), { lineWidth: 100, noRefs: true });

/** Return `{value}` of a YAML or JSON text, or `{error}` with line and column. */
export function fromYaml(text) {
  try {
    const value = load(text);
    if (value === null || typeof value !== "object" || Array.isArray(value)) {
      return { error: "A spec is a list of fields, such as name: mine." };
    }
    return { value };
  } catch (error) {
    const where = error.mark ? `Line ${error.mark.line + 1}, column ${error.mark.column + 1}: ` : "";
    return { error: `${where}${error.reason ?? error.message}` };
  }
}

/** Leave out what is null in a spec that the API returned: it is the default there. */
export function withoutNulls(value) {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== null).map(([key, each]) => [key, withoutNulls(each)]));
}

/** Return a copy of `spec` with the field at `path` set; undefined removes it. */
export function withField(spec, path, value) {
  const [name, ...rest] = path;
  const copy = { ...spec };
  const next = rest.length === 0 ? value : withField(typeof spec?.[name] === "object" ? spec[name] : {}, rest, value);
  const isEmpty = next === undefined || (rest.length > 0 && Object.keys(next).length === 0);
  if (isEmpty) delete copy[name];
  else copy[name] = next;
  return copy;
}

export const fieldAt = (spec, path) => path.reduce((value, name) => value?.[name], spec);
