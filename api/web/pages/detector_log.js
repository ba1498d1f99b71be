// What the worker of a trial has logged, of each attempt; a running trial's log grows by itself.
import { html } from "htm/preact";
import { useEffect, useState } from "preact/hooks";
import { get } from "../api.js";
import { useEvery } from "../live.js";
import { Card, Choice } from "../components/parts.js";
import { count } from "../model/numbers.js";

const LAST_LINES = 200;
const PAGE = 500;
const EVERY_MS = 3000;

/** `run` is the page and name of the search or distillation of the trial. */
export function Log({ run, trial }) {
  const [attempt, setAttempt] = useState(trial.attempt);
  const [level, setLevel] = useState("");
  useEffect(() => setAttempt(trial.attempt), [trial.attempt]);
  const { lines, error, hidden, readAll } = useLog(`/${run.page}/${run.name}/trials/${trial.name}/log`, attempt, trial.status === "running");
  const shown = level === "" ? lines : lines.filter((line) => line.level !== "INFO");
  const attempts = Array.from({ length: trial.attempt }, (_, index) => [String(index + 1), `attempt ${index + 1}`]);
  const aside = html`<span class="row">
    ${attempts.length > 1 && html`<${Choice} label="" value=${String(attempt)} options=${attempts} onChange=${(value) => setAttempt(Number(value))} />`}
    <${Choice} label="Show" value=${level} options=${[["", "all lines"], ["warnings", "warnings and errors"]]} onChange=${setLevel} />
  </span>`;
  return html`<${Card} title="Log" aside=${aside}>
    ${error && html`<p class="quiet">${error.message}</p>`}
    ${hidden && html`<button type="button" class="small" onClick=${readAll}>Show earlier lines</button>`}
    ${shown.length === 0 ? html`<p class="quiet">No lines.</p>` : html`<div class="log mono small" tabindex="0" role="log" aria-label=${`Log of attempt ${attempt}`}>
      ${shown.map((line) => html`<${Line} key=${line.line} line=${line} />`)}</div>`}
    <p class="small quiet">${count(shown.length, "line")} of the worker, oldest first.</p>
  </${Card}>`;
}

const TONES = { WARNING: "warn", ERROR: "bad", CRITICAL: "bad" };

const Line = ({ line }) => html`<div class=${TONES[line.level] ?? ""}>
  <time dateTime=${line.at} class="quiet" title=${line.logger}>${new Date(line.at).toLocaleTimeString()}</time> ${line.message}
  ${line.traceback && html`<details><summary>traceback</summary><pre>${line.traceback}</pre></details>`}
</div>`;

/** Read the end of a log, then what is added to it while `isRunning`; `readAll` reads it from its start. */
function useLog(path, attempt, isRunning) {
  const [state, setState] = useState({ lines: [], error: null });
  const read = async (query) => {
    const answer = await get(`${path}?${new URLSearchParams({ attempt, ...query })}`);
    return answer.items;
  };
  const attemptOnce = async (step) => {
    try {
      setState({ lines: await step(), error: null });
    } catch (error) {
      setState((old) => ({ ...old, error }));
    }
  };
  useEffect(() => {
    setState({ lines: [], error: null });
    if (attempt > 0) attemptOnce(() => read({ tail: LAST_LINES, page_size: LAST_LINES }));
  }, [path, attempt, isRunning]);
  useEvery(() => attemptOnce(async () => {
    const last = state.lines.at(-1)?.line ?? 0;
    return [...state.lines, ...await read({ page_token: last, page_size: PAGE })];
  }), isRunning && attempt > 0 ? EVERY_MS : null, [path, attempt, state.lines]);
  const readAll = () => attemptOnce(async () => {
    const lines = [];
    for (let page = null; page === null || page.length === PAGE;) {
      page = await read({ page_token: lines.at(-1)?.line ?? 0, page_size: PAGE });
      lines.push(...page);
    }
    return lines;
  });
  return { ...state, hidden: state.lines.length === LAST_LINES && state.lines[0].line > 1, readAll };
}
