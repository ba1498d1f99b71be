// A detector beside its base: backbone, figures at every resolution, training, exports, files.
import { html } from "htm/preact";
import { get, post } from "../api.js";
import { useRead } from "../live.js";
import { Backbone } from "../charts/backbone.js";
import { Download } from "../components/download.js";
import { EpochLosses } from "../components/epoch_losses.js";
import { Card, Facts, Legend, Link, Notice, Progress, Status, Table, Waiting } from "../components/parts.js";
import { StageMacsOf } from "../components/stage_macs.js";
import { tell } from "../components/toasts.js";
import { href } from "../router.js";
import { besideBase } from "../model/detector_figures.js";
import { isFinal } from "../model/lifecycle.js";
import { bytes, duration, giga, mega, milliseconds, percent, points, significant, words } from "../model/numbers.js";
import { trainingProgress } from "../model/progress.js";
import { Breakdown } from "./detector_breakdown.js";
import { Exports } from "./detector_exports.js";
import { Log } from "./detector_log.js";
import { Predictions } from "./detector_predictions.js";

export default function Detector({ name }) {
  const { value, error, again } = useRead(() => readDetector(name), [name], (shown) => (shown?.detector ? null : 4000));
  if (value === null) return html`<${Waiting} error=${error} what=${name} />`;
  const { trial, detector, base, run } = value;
  return html`<div class="stack">
    <${Head} trial=${trial} detector=${detector} run=${run} onDone=${again} />
    ${trial.warnings.map((warning) => html`<${Notice} key=${warning} kind="warn"><p>${warning}</p></${Notice}>`)}
    ${detector === null ? html`<${NotYet} trial=${trial} />` : html`
      <${Figures} detector=${detector} base=${base} />
      <${Breakdown} detector=${detector} base=${base} resolution=${trial.best?.resolution ?? detector.evaluations.at(-1)?.resolution} />
      <${Predictions} id=${trial.id} baseId=${base?.trial_id ?? null} />
      <div class="columns wide">
        <${Drawing} detector=${detector} base=${base} />
        ${base && html`<${StageMacsOf} base=${base.detector.architecture} own=${detector.detector.architecture}
          resolution=${detector.evaluations.at(-1)?.resolution ?? "640x640"} title="MACs by stage" />`}
      </div>`}
    <div class="columns">
      <${Teaching} trial=${trial} />
      ${trial.epochs.length > 0 && html`<${Card} title="Training"><${EpochLosses} epochs=${trial.epochs} /></${Card}>`}
    </div>
    ${detector !== null && html`<${Exports} trial=${trial} />`}
    ${trial.artifacts.length > 0 && html`<${Files} trial=${trial} />`}
    ${run && trial.attempt > 0 && html`<${Log} run=${run} trial=${trial} />`}
  </div>`;
}

/** Read a trial with its detector and the base it descends from; null before they are trained. */
async function readDetector(id) {
  const trial = await get(`/trials/${id}`);
  if (trial.status !== "succeeded") return { trial, detector: null, base: null, run: await runOf(trial) };
  const detector = await get(`/detectors/${id}`);
  const first = detector.lineage[0];
  const base = first && first !== id ? await get(`/detectors/${first}`).catch(() => null) : null; // it may be collected
  return { trial, detector, base, run: await runOf(trial) };
}

/** Return the page and name of the run of a trial: a search or a distillation. */
async function runOf(trial) {
  const page = trial.search_id.startsWith("kd-") ? "distillations" : "searches";
  for (const list of [page, page === "searches" ? "distillations" : "searches"]) {
    try {
      return { page: list, name: (await get(`/${list}/${trial.search_id}`)).name };
    } catch (problem) {
      if (problem.status !== 404) throw problem;
    }
  }
  return null;
}

function Head({ trial, detector, run, onDone }) {
  const pin = async () => {
    try {
      await post(`/detectors/${trial.id}/${trial.pinned ? "unpin" : "pin"}`);
      tell(trial.pinned ? "Its files may be deleted once nothing needs them." : "Its files are kept.");
      onDone();
    } catch (problem) {
      tell(problem.message, "bad");
    }
  };
  const best = trial.best;
  return html`
    <div class="head">
      <div>
        <div class="kind">Detector${run && html` of <${Link} page=${run.page} name=${run.name} />`}, ${words(trial.role)} trial</div>
        <h1>${trial.id}</h1>
        <div class="row"><${Status} status=${trial.status} /><span class="quiet">${trial.change}</span></div>
      </div>
      <div class="row">
        ${detector && html`<button type="button" onClick=${pin} title="Garbage collection keeps the files of pinned trials">${trial.pinned ? "Unpin" : "Pin"}</button>
          <a class="button" href=${href("compare", "", { detectors: trial.id })}>Compare</a>
          <a class="button" href=${href("submit", "distillation", { student: trial.id })}>Distil further</a>`}
      </div>
    </div>
    <${Card}>
      <${Facts} items=${[
        ["AP", best && `${percent(best.ap)} %`, true],
        ["Score", trial.score !== null && `${percent(trial.score, 2)} %`, true],
        ["GMACs", best && giga(best.macs), true],
        ["Parameters", trial.params !== null && `${mega(trial.params)} M`, true],
        ["Best resolution", best?.resolution],
        ["Parent", trial.parent_id && html`<${Link} page="detectors" name=${trial.parent_id} />`],
        ["Attempts", trial.attempt > 1 ? trial.attempt : null],
      ]} />
      ${trial.encoding && html`<p class="mono quiet small" title="Backbone in the papers' text form">${trial.encoding}</p>`}
      ${detector && detector.lineage.length > 1 && html`<${Descent} detector=${detector} />`}
    </${Card}>`;
}

const SHOWN_ANCESTORS = 8;

/** The line from the base to the detector; of a long one, its end. Trials of its own run go by name. */
function Descent({ detector }) {
  const shown = detector.lineage.slice(-SHOWN_ANCESTORS);
  const hidden = detector.lineage.length - shown.length;
  return html`<p class="small">Lineage: ${hidden > 0 && html`<span class="quiet">${hidden} earlier → </span>`}
    ${shown.map((id, index) => html`${index > 0 && " → "}<${Link} key=${id} page="detectors" name=${id}>${id.replace(`${detector.search_id}-`, "")}</${Link}>`)}</p>`;
}

function NotYet({ trial }) {
  const progress = trial.status === "running" ? trainingProgress(trial.progress) : null;
  return html`<${Card} title=${isFinal(trial.status) || trial.status === "skipped" ? "Why there is no detector" : "Not trained yet"}>
    ${progress ? html`<${Progress} ...${progress} />` : html`<pre tabindex="0">${trial.status_reason}</pre>`}
    ${trial.cause && html`<p class="small quiet">Cause: ${words(trial.cause)}</p>`}
  </${Card}>`;
}

function Figures({ detector, base }) {
  const rows = besideBase(detector.evaluations, base?.evaluations);
  const figure = (title, key, text) => ({ title, number: true, cell: ({ own }) => text(own[key]) });
  return html`<${Card} title="Measured on the validation split">
    <${Table} items=${rows} keyOf=${(row) => row.resolution} columns=${[
      { title: "Resolution", cell: (row) => row.resolution },
      figure("AP %", "ap", percent),
      { title: "against base", number: true, cell: ({ own, base: other }) => (other ? html`<span class=${own.ap > other.ap ? "good" : ""}>${points(own.ap - other.ap)}</span>` : "–") },
      figure("AP50", "ap50", percent), figure("AP75", "ap75", percent),
      ...(rows.some(({ own }) => own.mask_ap != null) ? [figure("Mask AP %", "mask_ap", percent), figure("Mask AP50", "mask_ap50", percent)] : []),
      figure("small", "ap_small", percent), figure("medium", "ap_medium", percent), figure("large", "ap_large", percent),
      figure("Score %", "score", (value) => percent(value, 2)),
      figure("GMACs", "macs", giga),
      { title: "of base", number: true, cell: ({ own, base: other }) => (other ? `${significant(own.macs / other.macs, 2)} x` : "–") },
      figure("Latency ms", "latency_s", milliseconds), figure("Images / s", "images_per_s", significant),
    ]} />
    <details><summary class="small">Average recall, and AP at other thresholds</summary>
      <${Table} items=${rows} keyOf=${(row) => row.resolution} columns=${[
        { title: "Resolution", cell: (row) => row.resolution },
        figure("AP70", "ap70", percent), figure("AP90", "ap90", percent),
        figure("AR1", "ar1", percent), figure("AR10", "ar10", percent), figure("AR100", "ar100", percent),
        figure("AR small", "ar_small", percent), figure("AR medium", "ar_medium", percent), figure("AR large", "ar_large", percent),
      ]} />
    </details>
  </${Card}>`;
}

function Drawing({ detector, base }) {
  return html`<${Card} title="Backbone, stage by stage">
    <${Backbone} architecture=${detector.detector.architecture} base=${base?.detector.architecture} names=${[detector.trial_id, "the base"]} />
    ${base && html`<${Legend} items=${[["base", "var(--base)"], ["this detector", "var(--accent)"]]} />`}
    <p class="small quiet">A bar is a block, as wide as its widest convolution; beside it the channels of its convolutions.${" "}
      ${words(detector.detector.family)}, neck of ${detector.detector.neck_channels} channels, ${detector.detector.num_classes} classes.</p>
  </${Card}>`;
}

function Teaching({ trial }) {
  const checks = trial.checks ?? {};
  return html`<${Card} title="Teacher">
    ${trial.teacher === null ? html`<p class="quiet">Trained without a teacher.</p>` : html`<${Facts} items=${[
      ["Teacher", trial.teacher],
      ["Methods", trial.methods],
      ["Its AP", checks.teacher_ap != null ? `${percent(checks.teacher_ap)} %${checks.resolution ? ` at ${checks.resolution}` : ""}` : null],
      ["It should exceed", checks.teacher_ap_floor != null ? `${percent(checks.teacher_ap_floor)} %` : null],
      ["Time of training", trial.started_at && trial.finished_at && duration((new Date(trial.finished_at) - new Date(trial.started_at)) / 1000)],
    ]} />`}
    ${checks.first_losses && html`<details><summary class="small">Losses of the first step</summary>
      <${Table} items=${Object.entries(checks.first_losses)} columns=${[{ title: "Term", cell: ([name]) => words(name) }, { title: "Loss", number: true, cell: ([, value]) => significant(value) }]} />
    </details>`}
  </${Card}>`;
}

function Files({ trial }) {
  return html`<${Card} title="Files">
    <${Table} items=${trial.artifacts} keyOf=${(file) => file.name} columns=${[
      { title: "File", cell: (file) => file.name },
      { title: "Size", number: true, cell: (file) => bytes(file.size_bytes) },
      { title: "SHA-256", cell: (file) => html`<span class="mono" title=${file.sha256}>${file.sha256.slice(0, 12)}…</span>` },
      { title: "", cell: (file) => (file.deleted_at ? html`<span class="quiet">deleted by garbage collection</span>` : html`<${Download} path=${`/detectors/${trial.id}/artifacts/${file.name}`} label=${`Download ${file.name}`} />`) },
    ]} />
  </${Card}>`;
}
