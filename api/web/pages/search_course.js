// The course of a search: score by trial, gains by action, what runs, what failed, how noisy it is.
import { html } from "htm/preact";
import { useMemo } from "preact/hooks";
import { Scatter } from "../charts/scatter.js";
import { Bar, Card, Legend, Link, Progress, Table } from "../components/parts.js";
import { PointTip } from "../components/point_tip.js";
import { RunningLosses } from "../components/running_losses.js";
import { StageMacs } from "../components/stage_macs.js";
import { go } from "../router.js";
import { byAction, byCause } from "../model/actions.js";
import { confirmations, noiseFloor } from "../model/columns.js";
import { count, percent, points, words } from "../model/numbers.js";
import { firstAxes, incumbents } from "../model/pareto.js";
import { trainingProgress } from "../model/progress.js";
import { teacherSize } from "../model/teachers.js";
import { groupOf } from "./search_results.js";

const GROUPS = [{ name: "search", color: "accent", faint: true }, { name: "base", color: "base" }, { name: "finish", color: "finish" }, { name: "control", color: "control" }];

export function Course({ search, trials, byName }) {
  const running = trials.filter((trial) => trial.status === "running");
  return html`
    ${running.length > 0 && html`<${Running} search=${search} running=${running} />`}
    <${ScoreByTrial} search=${search} trials=${trials} />
    <div class="columns">
      <${Gains} trials=${trials} />
      <${StageMacs} search=${search} />
      <${WhatTeachersBrought} search=${search} trials=${trials} byName=${byName} />
      <${TeachersAgainstStudents} search=${search} trials=${trials} />
      <${Noise} search=${search} trials=${trials} byName=${byName} />
      <${Failures} search=${search} trials=${trials} />
    </div>`;
}

function ScoreByTrial({ search, trials }) {
  const dots = useMemo(() => trials
    .filter((trial) => trial.score !== null && trial.completion !== null)
    .map((trial) => ({ trial, evaluation: trial, x: trial.completion, y: trial.score * 100, group: groupOf(trial) }))
    .sort((one, other) => one.x - other.x), [trials]);
  const best = useMemo(() => incumbents(trials), [trials]);
  const lines = useMemo(() => [{ name: "best", color: "good", points: stepped(best.map(([x, y]) => ({ x, y: y * 100 }))) }], [best]);
  if (dots.length === 0) return null;
  const last = best.at(-1)?.[2];
  return html`<${Card} title="Score by trial" aside=${last && html`<span class="small quiet">best so far: trial ${last.name}, ${percent(last.score, 2)} %</span>`}>
    <${Scatter} points=${dots} groups=${GROUPS} lines=${lines} xLabel="completed trials" yLabel="score, %" height=${280}
      describe=${(point) => html`<${PointTip} search=${search} point=${point} axes=${firstAxes(search)} />`}
      onOpen=${(point) => go("detectors", `${search.id}-${point.trial.name}`)}
      label=${`Score of ${count(dots.length, "trial")} in the order they ended, and the best score so far`} />
    <${Legend} items=${[["trials", "var(--accent)"], ["best score so far", "var(--good)"], ["base", "var(--base)"], ["finished", "var(--finish)"], ["controls", "var(--control)"]]} />
  </${Card}>`;
}

/** Return the corners of a line that only steps up. */
function stepped(line) {
  return line.flatMap((point, index) => (index > 0 && line[index - 1].y !== point.y ? [{ x: point.x, y: line[index - 1].y }, point] : [point]));
}

function Running({ search, running }) {
  return html`<${Card} title="Running now">
    <${Table} keyOf=${(trial) => trial.name} items=${running} columns=${[
      { title: "Trial", cell: (trial) => html`<${Link} page="detectors" name=${`${search.id}-${trial.name}`}>${trial.name}</${Link}>` },
      { title: "Change", cell: (trial) => trial.change },
      { title: "Teacher", cell: (trial) => trial.teacher ?? "none" },
      { title: "Progress", cell: (trial) => (trial.progress ? html`<${Progress} ...${trainingProgress(trial.progress)} />` : html`<span class="quiet">starts</span>`) },
    ]} />
    <${RunningLosses} running=${running} />
  </${Card}>`;
}

function Gains({ trials }) {
  const groups = useMemo(() => byAction(trials), [trials]);
  if (groups.length === 0) return null;
  return html`<${Card} title="Gain and success by action">
    <${Table} items=${groups} keyOf=${(group) => group.action} columns=${[
      { title: "Action", cell: (group) => words(group.action) },
      { title: "Trials", number: true, cell: (group) => group.tried.toLocaleString("en") },
      { title: "Better than the parent", cell: (group) => html`<${Bar} share=${group.gained / group.tried} color="var(--good)" /><span class="small quiet">${Math.round((100 * group.gained) / group.tried)} %</span>` },
      { title: "Mean gain", number: true, cell: (group) => points(group.mean, 2) },
      { title: "Best", number: true, cell: (group) => points(group.best, 2) },
      { title: "Failed", number: true, cell: (group) => group.failed || "" },
    ]} />
    <p class="small quiet">Gains are points of score against the parent.</p>
  </${Card}>`;
}

function WhatTeachersBrought({ search, trials, byName }) {
  const dots = useMemo(() => trials
    .filter((trial) => trial.teacher_ap !== null && trial.ap !== null && byName.get(trial.parent)?.ap != null)
    .map((trial) => ({ trial, evaluation: trial, x: trial.teacher_ap * 100, y: (trial.ap - byName.get(trial.parent).ap) * 100, group: "search" }))
    .sort((one, other) => one.x - other.x), [trials, byName]);
  if (dots.length === 0) return null;
  return html`<${Card} title="What teachers brought">
    <${Scatter} points=${dots} groups=${GROUPS.slice(0, 1)} xLabel="AP of the teacher, %" yLabel="change of AP, points" height=${260}
      describe=${(point) => html`<${PointTip} search=${search} point=${point} axes=${firstAxes(search)} />`}
      onOpen=${(point) => go("detectors", `${search.id}-${point.trial.name}`)}
      label=${`Change of AP against the parent of ${count(dots.length, "student")} by the AP of their teachers`} />
    <p class="small quiet">Change of the student's AP against its parent, by the AP of its teacher before the trial.</p>
  </${Card}>`;
}

function TeachersAgainstStudents({ search, trials }) {
  const dots = useMemo(() => trials
    .filter((trial) => trial.macs !== null && teacherSize(trial.teacher) !== null)
    .map((trial) => ({ trial, evaluation: trial, x: trial.macs / 1e9, y: teacherSize(trial.teacher), group: "search" }))
    .sort((one, other) => one.x - other.x), [trials]);
  if (dots.length === 0) return null;
  return html`<${Card} title="Teachers against students">
    <${Scatter} points=${dots} groups=${GROUPS.slice(0, 1)} xLabel="GMACs of the student" yLabel="size of the teacher" height=${260}
      describe=${(point) => html`<${PointTip} search=${search} point=${point} axes=${firstAxes(search)} />`}
      onOpen=${(point) => go("detectors", `${search.id}-${point.trial.name}`)}
      label=${`Size of the teacher by MACs of the student, of ${count(dots.length, "trial")}`} />
    <p class="small quiet">Size of a subnet: the sum of depth times squared width over its stages.</p>
  </${Card}>`;
}

function Noise({ search, trials, byName }) {
  const floor = noiseFloor(trials);
  const confirmed = confirmations(byName);
  if (floor === null && confirmed.length === 0) return null;
  return html`<${Card} title="Noise and confirmation">
    ${floor !== null && html`<p>Trial 0 trained with several seeds differs by a standard deviation of <strong>${points(floor, 2).replace("+", "")} points</strong>.
      A gain below twice that may be chance; the table of trials marks it with ~.</p>`}
    ${confirmed.length > 0 && html`<${Table} items=${confirmed} keyOf=${(each) => each.name} columns=${[
      { title: "Trial", cell: (each) => html`<${Link} page="detectors" name=${`${search.id}-${each.name}`}>${each.name}</${Link}>` },
      { title: "Verdict", cell: (each) => each.verdict },
      { title: "Score %", number: true, cell: (each) => percent(each.first, 2) },
      { title: "Second training %", number: true, cell: (each) => percent(each.second, 2) },
    ]} />`}
  </${Card}>`;
}

function Failures({ search, trials }) {
  const causes = useMemo(() => byCause(trials), [trials]);
  if (causes.length === 0) return null;
  return html`<${Card} title="Failures by cause">${causes.map(({ cause, trials: failed }) => html`
    <details key=${cause} class="group" open=${causes.length === 1}>
      <summary>${words(cause)} <span class="chip">${failed.length}</span></summary>
      <ul class="small">${failed.slice(0, 20).map((trial) => html`<li key=${trial.name}>
        <${Link} page="detectors" name=${`${search.id}-${trial.name}`}>trial ${trial.name}</${Link}>: <${Reason} text=${trial.reason} /></li>`)}</ul>
      ${failed.length > 20 && html`<p class="small quiet">and ${failed.length - 20} more</p>`}
    </details>`)}
  </${Card}>`;
}

/** The last line of a traceback says what happened; all of it is a click away. */
function Reason({ text }) {
  const lines = (text ?? "").trim().split("\n");
  if (lines.length === 1) return lines[0];
  return html`<details><summary>${lines.at(-1)}</summary><pre>${text}</pre></details>`;
}
