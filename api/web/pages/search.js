// A search, live: what it gained, its front, its trials, its lineage, what runs and what failed.
import { html } from "htm/preact";
import { useMemo, useRef, useState } from "preact/hooks";
import { get } from "../api.js";
import { useRead } from "../live.js";
import { Actions } from "../components/actions.js";
import { EventList } from "../components/events.js";
import { Card, Facts, Link, Notice, Progress, Status, Tabs, Time, Waiting } from "../components/parts.js";
import { SpecText } from "../components/spec_text.js";
import { isFinal } from "../model/lifecycle.js";
import { duration, percent, words } from "../model/numbers.js";
import { classOf, firstAxes } from "../model/pareto.js";
import { searchProgress } from "../model/progress.js";
import { Course } from "./search_course.js";
import { Lineage } from "./search_lineage.js";
import { Report } from "./search_report.js";
import { Results } from "./search_results.js";
import { useTrials } from "./search_data.js";

const TABS = [["results", "Results"], ["course", "Course"], ["lineage", "Lineage"], ["events", "Events"], ["spec", "Spec"]];

export default function Search({ name, options }) {
  const { value: search, error, again } = useRead(() => get(`/searches/${name}`), [name], (item) => (item && isFinal(item.status) ? null : 10_000));
  const [chosen, setAxes] = useState(null);
  const ranked = search?.spec.score?.accuracy;
  const axes = useMemo(() => chosen ?? firstAxes(search), [chosen, ranked]);
  const lastClass = useRef(null); // its APs stay, so that going back to it reads nothing again
  lastClass.current = classOf(axes.y) ?? lastClass.current;
  const { trials, byName, classes, className, events, error: trialsError } = useTrials(name, search, again, lastClass.current);
  const tab = options.get("tab") ?? "results";
  if (search === null) return html`<${Waiting} error=${error} what=${name} />`;
  return html`<div class="stack">
    <${Head} search=${search} trials=${trials} onDone=${again} />
    ${search.teachers_warning && html`<${Notice} kind="warn"><p>${search.teachers_warning}</p></${Notice}>`}
    <${Tabs} page="searches" name=${name} chosen=${tab} tabs=${TABS} />
    ${trials === null ? html`<${Waiting} error=${trialsError} what="trials" />` : html`
      ${tab === "results" && html`<${Report} search=${search} numTrials=${trials.length} /><${Results} search=${search} trials=${trials} byName=${byName}
        classes=${classes} className=${className} axes=${axes} onAxes=${setAxes} />`}
      ${tab === "course" && html`<${Course} search=${search} trials=${trials} byName=${byName} />`}
      ${tab === "lineage" && html`<${Lineage} search=${search} trials=${trials} byName=${byName} />`}
      ${tab === "events" && html`<${Card} title="Latest events"><${EventList} events=${events} owner=${search} /></${Card}>`}
    `}
    ${tab === "spec" && html`<${Card} title="Spec"><${SpecText} spec=${search.spec} /></${Card}>`}
  </div>`;
}

function Head({ search, trials, onDone }) {
  const progress = searchProgress(search);
  const best = search.best_trial_id;
  return html`
    <div class="head">
      <div>
        <div class="kind">Search on <${Link} page="datasets" name=${search.spec.dataset} />${search.spec.pool && html` with pool <${Link} page="pools" name=${search.spec.pool} />`}</div>
        <h1>${search.name}</h1>
        <div class="row"><${Status} status=${search.status} /><span class="quiet">${search.status_reason}</span></div>
      </div>
      <${Actions} kind="search" item=${search} onDone=${onDone} numTrials=${trials && trials.filter((trial) => trial.role === "search").length} />
    </div>
    <${Card}>
      <${Facts} items=${[
        ["Best score", search.best_score === null ? null : `${percent(search.best_score, 2)} %`, true],
        ["Best detector", best && html`<${Link} page="detectors" name=${best}>${best}</${Link}>`],
        ["Trials", trialsInWords(search.trials)],
        ["Time of workers", trials && duration(trials.reduce((sum, trial) => sum + trial.busy_s, 0))],
        ["Submitted", html`<${Time} at=${search.created_at} />`],
        ["Ended", search.finished_at && isFinal(search.status) && html`<${Time} at=${search.finished_at} />`],
        ["Archived", search.archived_at && html`<${Time} at=${search.archived_at} />`],
        ["Owner", search.owner],
      ]} />
      ${progress && html`<${Progress} ...${progress} />`}
    </${Card}>`;
}

const trialsInWords = (counts) => Object.entries(counts).map(([status, number]) => `${number.toLocaleString("en")} ${words(status)}`).join(", ") || "none yet";
