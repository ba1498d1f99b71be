// A form for the fields of a spec; fields that have no input are edited in the text beside it.
import { html } from "htm/preact";
import { fieldAt } from "../model/spec_text.js";
import { valueOf } from "../model/schema.js";

/** `onChange(path, value)`; `errors` by path; `suggestions` by field name. */
export function SpecForm({ fields, spec, errors, suggestions, onChange }) {
  return fields.map((field) => html`<${Field} key=${field.path.join(".")} field=${field} spec=${spec} errors=${errors} suggestions=${suggestions} onChange=${onChange} />`);
}

function Field(props) {
  const { field, spec, errors } = props;
  const key = field.path.join(".");
  if (field.kind === "text only") return null;
  if (field.kind === "group") {
    const isNamed = fieldAt(spec, field.path) !== undefined;
    const hasError = [...errors.keys()].some((path) => path.startsWith(`${key}.`));
    return html`<details class="group" open=${hasError || (isNamed && field.required)}>
      <summary>${field.label}${hasError ? html` <span class="bad small">has an error</span>` : isNamed ? html` <span class="quiet small">given</span>` : ""}</summary>
      <p class="help quiet small">${field.help}</p>
      <${SpecForm} ...${props} fields=${field.fields} />
    </details>`;
  }
  const error = errors.get(key);
  const id = `field-${key}`;
  return html`<div class="field">
    <label for=${id}>${field.label}${field.required ? " (needed)" : ""}</label>
    <${Input} ...${props} id=${id} isInvalid=${error !== undefined} />
    <span class="help ${error ? "bad" : ""}" id="${id}-help">${error ?? field.help}</span>
  </div>`;
}

function Input({ field, spec, suggestions, onChange, id, isInvalid }) {
  const given = fieldAt(spec, field.path);
  const shared = { id, "aria-describedby": `${id}-help`, "aria-invalid": isInvalid ? "true" : undefined };
  const take = (text) => onChange(field.path, valueOf(field, text));
  const initial = field.initial === undefined || field.initial === null || typeof field.initial === "object" ? "" : String(field.initial);
  if (field.kind === "boolean" || field.kind === "choice") {
    const options = field.kind === "boolean" ? ["true", "false"] : field.options;
    const choose = (text) => take(text === "" ? "" : field.kind === "boolean" ? text === "true" : text);
    return html`<select ...${shared} onChange=${(event) => choose(event.target.value)}>
      <option value="" selected=${given === undefined}>${initial ? `default: ${initial}` : "not given"}</option>
      ${options.map((option) => html`<option value=${option} selected=${String(given) === String(option)}>${option}</option>`)}
    </select>`;
  }
  const names = suggestions[field.path.at(-1)];
  const shown = Array.isArray(given) ? given.join(", ") : typeof given === "object" ? "" : given ?? "";
  return html`<input ...${shared} type="text" inputmode=${field.kind === "string" || field.kind === "list" ? undefined : "decimal"} list=${names ? `${id}-names` : undefined}
      value=${shown} placeholder=${initial} onInput=${(event) => take(event.target.value)} />
    ${names && html`<datalist id="${id}-names">${names.map((name) => html`<option value=${name} />`)}</datalist>`}`;
}
