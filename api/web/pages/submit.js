// Submission: a form and the same spec as text, checked by the service as you type, with its forecast.
import { html } from "htm/preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { get, getAll, post } from "../api.js";
import { useRead } from "../live.js";
import { go, href } from "../router.js";
import { Forecast } from "../components/forecast.js";
import { Card, Choice, Notice, Waiting } from "../components/parts.js";
import { SpecForm } from "../components/spec_form.js";
import { tell } from "../components/toasts.js";
import { KINDS } from "../model/lifecycle.js";
import { bodySchema, errorsByField, fieldsOf } from "../model/schema.js";
import { fromYaml, toYaml, withField } from "../model/spec_text.js";
import { cloned, extendedPool, template } from "../model/templates.js";

const REST_MS = 400;
const FORECAST = new Set(["search", "distillation", "pool"]);

export default function Submit({ name, options }) {
  const kind = name || "search";
  const { value, error } = useRead(() => readKnown(kind, options), [kind, options.get("from"), options.get("extend")]);
  if (!KINDS[kind]) return html`<h1>Nothing of this kind can be submitted</h1>`;
  return html`<div class="stack">
    <div class="head"><h1>New ${KINDS[kind].one.toLowerCase()}</h1>
      <nav class="row" aria-label="What to submit">${Object.keys(KINDS).map((each) => html`
        <a key=${each} class="button" href=${href("submit", each)} aria-current=${each === kind ? "page" : undefined}>${KINDS[each].one}</a>`)}</nav>
    </div>
    ${value === null ? html`<${Waiting} error=${error} what="what can be submitted" />` : html`<${Editor} key=${`${kind} ${options.get("from")} ${options.get("extend")}`} kind=${kind} known=${value} />`}
  </div>`;
}

/** Read what the form offers: the description of the API, names that exist, and the spec to start with. */
async function readKnown(kind, options) {
  const lists = ["datasets", "pools", "teachers"];
  const [description, earlier, ...named] = await Promise.all([
    fetchDescription(), getAll(`/${KINDS[kind].list}`, { limit: 100 }), ...lists.map((list) => getAll(`/${list}`, { limit: 100 })),
  ]);
  const [datasets, pools, teachers] = named.map((items) => items.filter((item) => item.status !== "failed").map((item) => item.name));
  const [from, extended] = [options.get("from"), kind === "pool" ? options.get("extend") : null];
  const spec = from || extended ? (await get(`/${KINDS[kind].list}/${from || extended}`)).spec : null;
  const names = earlier.map((item) => item.name);
  const start = spec === null ? template(kind, { datasets, pools, student: options.get("student") })
    : extended ? extendedPool(spec, names) : cloned(spec, names);
  return { description, start, earlier: earlier.map((item) => item.name), suggestions: { dataset: datasets, pool: pools, registered: teachers } };
}

/** The description is at the root of the service, not below /api/v1. */
async function fetchDescription() {
  return get("/../../openapi.json");
}

function Editor({ kind, known }) {
  const [text, setText] = useState(() => toYaml(known.start));
  const parsed = useMemo(() => fromYaml(text), [text]);
  const lastSpec = useRef(known.start);
  if (parsed.value) lastSpec.current = parsed.value;
  const spec = lastSpec.current;
  const fields = useMemo(() => {
    const { schema, schemas } = bodySchema(known.description, `/api/v1/${KINDS[kind].list}`, spec);
    return fieldsOf(schema, schemas);
  }, [kind, Object.keys(spec).join()]);
  const checked = useCheck(kind, parsed);
  const change = (path, value) => setText(toYaml(withField(spec, path, value)));
  return html`
    <div class="columns">
      <${Card} title="Fields" aside=${html`<${Start} kind=${kind} earlier=${known.earlier} />`}>
        <${SpecForm} fields=${fields} spec=${spec} errors=${checked.errors} suggestions=${known.suggestions} onChange=${change} />
      </${Card}>
      <div class="stack">
        <${Verdict} kind=${kind} parsed=${parsed} checked=${checked} />
        <${Card} title="Spec, as YAML or JSON">
          <textarea class="spec" aria-label="Spec as YAML or JSON" spellcheck=${false} value=${text} onInput=${(event) => setText(event.target.value)}></textarea>
          <p class="small quiet">What is left out has its default. A change of a field writes this text anew, without comments.</p>
        </${Card}>
      </div>
    </div>`;
}

const Start = ({ kind, earlier }) => (earlier.length === 0 ? null : html`<${Choice} label="Start from" value=""
  options=${[["", "a new spec"], ...earlier.map((name) => [name, name])]} onChange=${(from) => go("submit", kind, { from })} />`);

/** Check a spec by the service once typing rests: `{isChecking, problem, errors, warnings, forecast}`. */
function useCheck(kind, parsed) {
  const nothing = { isChecking: true, problem: null, errors: new Map(), warnings: [], forecast: null };
  const [state, setState] = useState(nothing);
  const latest = useRef(0);
  useEffect(() => {
    const number = ++latest.current;
    if (!parsed.value) {
      setState({ ...nothing, isChecking: false, problem: parsed.error });
      return undefined;
    }
    setState((old) => ({ ...old, isChecking: true }));
    const timer = setTimeout(async () => {
      const found = await check(kind, parsed.value);
      if (number === latest.current) setState({ ...nothing, isChecking: false, ...found });
    }, REST_MS);
    return () => clearTimeout(timer);
  }, [kind, parsed]);
  return state;
}

async function check(kind, spec) {
  const path = `/${KINDS[kind].list}`;
  const forecast = FORECAST.has(kind) ? post(`${path}/forecast`, spec).catch(() => null) : null; // the check says why
  try {
    const { warnings } = await post(`${path}?validate_only=true`, spec);
    return { warnings, forecast: await forecast };
  } catch (problem) {
    const errors = errorsByField(problem.errors ?? []);
    return { problem: problem.message, errors, forecast: await forecast };
  }
}

/** Whether the spec would be accepted, what it would cost, and the button that submits it. */
function Verdict({ kind, parsed, checked }) {
  const key = useMemo(() => crypto.randomUUID?.() ?? String(Math.random()), []);
  const [isSending, setSending] = useState(false);
  const submit = async () => {
    setSending(true);
    try {
      const made = await post(`/${KINDS[kind].list}`, parsed.value, { "Idempotency-Key": `${key}-${parsed.value.name}` });
      tell(`${made.name} was submitted.`);
      go(KINDS[kind].list, made.name);
    } catch (problem) {
      tell(problem.message, "bad");
      setSending(false);
    }
  };
  const isAccepted = !checked.isChecking && checked.problem === null;
  return html`<${Card} title="Check and forecast" aside=${html`<button type="button" class="primary" disabled=${!isAccepted || isSending} onClick=${submit}>Submit</button>`}>
    <div aria-live="polite">
      ${checked.isChecking && html`<p class="quiet">Checking …</p>`}
      ${!checked.isChecking && checked.problem !== null && html`<${Notice} kind="bad"><${Sentences} text=${checked.problem} /></${Notice}>`}
      ${isAccepted && html`<p class="good">It would be accepted.</p>`}
      ${checked.warnings.map((warning) => html`<${Notice} key=${warning} kind="warn"><p>${warning}</p></${Notice}>`)}
    </div>
    ${checked.forecast && isAccepted && html`<${Forecast} forecast=${checked.forecast} />`}
  </${Card}>`;
}

/** Several reasons in one message are a list. */
function Sentences({ text }) {
  const reasons = text.split("; ");
  return reasons.length === 1 ? html`<p>${text}</p>` : html`<ul>${reasons.map((reason) => html`<li key=${reason}>${reason}</li>`)}</ul>`;
}
