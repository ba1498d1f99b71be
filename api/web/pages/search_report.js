// What a search gained against its base and controls, in the words of the service.
import { html } from "htm/preact";
import { useState } from "preact/hooks";
import { get } from "../api.js";
import { useRead } from "../live.js";
import { Card, Link, Table } from "../components/parts.js";
import { isFinal } from "../model/lifecycle.js";
import { giga, milliseconds, percent, points, significant, words } from "../model/numbers.js";

const MANY = 2000; // trials; the service works for seconds on the report of more

/** The report; while a search of many trials still runs, only when it is asked for. */
export function Report({ search, numTrials }) {
  const [isAsked, setAsked] = useState(numTrials <= MANY || isFinal(search.status));
  const isThere = search.best_score !== null && isAsked;
  const { value: report } = useRead(
    () => (isThere ? get(`/searches/${search.id}/report`) : Promise.resolve(null)),
    [search.id, search.status, search.best_trial_id],
  );
  if (!isAsked && search.best_score !== null) {
    return html`<div class="row"><button type="button" onClick=${() => setAsked(true)}>Report what it gained so far</button></div>`;
  }
  if (!report) return null;
  const ap = report.accuracy === "mask_ap" ? "mask AP" : "AP";
  return html`<${Card} title="What it gained">
    <p class="verdict">${report.verdict}</p>
    ${report.notes.length > 0 && html`<ul class="quiet small">${report.notes.map((note) => html`<li key=${note}>${note}</li>`)}</ul>`}
    <details>
      <summary class="small">Figures and intervals</summary>
      <h3>Detectors, measured on the ${report.split} split</h3>
      <${Table} columns=${detectors(ap)} items=${report.detectors} />
      <h3>The best against the others, over the same images</h3>
      <${Table} columns=${differences(ap)} items=${report.differences} />
    </details>
  </${Card}>`;
}

const interval = (low, high, text) => (low === null || low === undefined ? "–" : `${text(low)} to ${text(high)}`);

const detectors = (ap) => [
  { title: "Detector", cell: (each) => words(each.label) },
  { title: "Trial", cell: (each) => html`<${Link} page="detectors" name=${each.trial_id}>${each.trial}</${Link}>` },
  { title: "Resolution", cell: (each) => each.resolution },
  { title: `${ap} %`, number: true, cell: (each) => percent(each.measured?.ap) },
  { title: "95 % interval", number: true, cell: (each) => interval(each.measured?.low, each.measured?.high, percent) },
  { title: `${ap} % validation`, number: true, cell: (each) => percent(each.validation_ap) },
  { title: "GMACs", number: true, cell: (each) => giga(each.macs) },
  { title: "Latency ms", number: true, cell: (each) => milliseconds(each.latency_s) },
];
const differences = (ap) => [
  { title: "Against", cell: (each) => words(each.reference) },
  { title: "Resolutions", cell: (each) => (each.resolution === each.reference_resolution ? each.resolution : `${each.resolution} against ${each.reference_resolution}`) },
  { title: `Points of ${ap}`, number: true, cell: (each) => points(each.ap) },
  { title: "95 % interval", number: true, cell: (each) => interval(each.low, each.high, points) },
  { title: "MACs ratio", number: true, cell: (each) => significant(each.macs_ratio) },
  { title: "Conclusion", cell: (each) => words(each.conclusion) },
];
