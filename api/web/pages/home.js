// The overview: everything that was submitted, what it does now, and what can be done with it.
import { html } from "htm/preact";
import { useState } from "preact/hooks";
import { get } from "../api.js";
import { useRead } from "../live.js";
import { href } from "../router.js";
import { Actions } from "../components/actions.js";
import { Card, Choice, Link, Progress, Status, Table, Time, Waiting } from "../components/parts.js";
import { KINDS, isFinal, matches } from "../model/lifecycle.js";
import { count, giga, percent } from "../model/numbers.js";
import { progressOf } from "../model/progress.js";

const EVERY_MS = 4000;
const SHOWN = 50;
const FILTERED = 500; // a filter looks at as many of the newest
const STATUSES = ["", "active", "queued", "running", "training", "measuring", "paused", "succeeded", "ready", "failed", "cancelled", "archived"];

export default function Home() {
  const [filter, setFilter] = useState({ text: "", status: "" });
  return html`<div class="stack">
    <div class="head">
      <h1>Overview</h1>
      <div class="row" role="search">
        <input type="search" placeholder="Name, data set, reason …" aria-label="Filter by name, data set or reason"
          value=${filter.text} onInput=${(event) => setFilter({ ...filter, text: event.target.value })} />
        <${Choice} label="Status" value=${filter.status} onChange=${(status) => setFilter({ ...filter, status })}
          options=${STATUSES.map((status) => [status, status || "all"])} />
      </div>
    </div>
    ${Object.keys(KINDS).map((kind) => html`<${List} key=${kind} kind=${kind} filter=${filter} />`)}
  </div>`;
}

/** One kind of resource, newest first. */
function List({ kind, filter }) {
  const { list, title, one } = KINDS[kind];
  const [more, setMore] = useState(SHOWN);
  const limit = filter.text || filter.status ? FILTERED : more;
  const isArchive = filter.status === "archived";
  const { value, error, again } = useRead(() => readList(kind, limit, isArchive), [kind, limit, isArchive], EVERY_MS);
  const submit = html`<a class="button" href=${href("submit", kind)}>${`New ${one.toLowerCase()}`}</a>`;
  if (value === null) return html`<${Card} title=${title} aside=${submit}><${Waiting} error=${error} what=${title.toLowerCase()} /></${Card}>`;
  const shown = value.items.filter((item) => matches(item, filter));
  return html`<${Card} title=${title} aside=${submit} id=${list}>
    ${shown.length > 0 && html`<${Table} label=${title} columns=${columnsOf(kind, again)} items=${shown} keyOf=${(item) => item.id} />`}
    ${value.items.length === 0 && html`<p class="quiet">${isArchive ? "None archived." : `None yet. ${HINTS[kind]}`}</p>`}
    ${value.items.length > 0 && shown.length === 0 && html`<p class="quiet">None of ${count(value.items.length, "entry", "entries")} fits the filter.</p>`}
    ${value.next_page_token && html`<p class="row small"><button type="button" onClick=${() => setMore(more + 150)}>Show more</button></p>`}
  </${Card}>`;
}

const HINTS = {
  search: "A search improves a detector on one of your data sets.",
  distillation: "A distillation teaches one student by several teachers in a chosen order.",
  pool: "A pool is a supernet whose subnets are teachers.",
  teacher: "A teacher is a strong detector of your own.",
  dataset: "Start here: add a data set, or run `searchd dataset add NAME PATH`.",
  device: "A device is a machine whose latency a search counts as cost.",
};

/** Read a list; searches and distillations at work come with what shows their progress, which the list does not have. */
async function readList(kind, limit, archived) {
  const path = `/${KINDS[kind].list}`;
  const page = await get(`${path}?page_size=${Math.min(limit, 500)}&archived=${archived}`);
  if (kind !== "search" && kind !== "distillation") return page;
  const busy = page.items.filter((item) => !isFinal(item.status)).slice(0, 20);
  const details = new Map(await Promise.all(busy.map(async (item) => [item.id, await get(`${path}/${item.id}`)])));
  return { ...page, items: page.items.map((item) => details.get(item.id) ?? item) };
}

function columnsOf(kind, again) {
  return [
    { title: "Name", cell: (item) => html`<${Link} page=${KINDS[kind].list} name=${item.name} />` },
    { title: "Status", cell: (item) => html`<${Status} status=${item.status} title=${item.status_reason} />` },
    { title: "Progress", cell: (item) => html`<${Doing} kind=${kind} item=${item} />` },
    ...EXTRA[kind],
    { title: kind === "dataset" || kind === "device" ? "Added" : "Submitted", cell: (item) => html`<span class="nowrap"><${Time} at=${item.created_at} /></span>` },
    { title: html`<span class="hidden">Actions</span>`, cell: (item) => html`<${Actions} kind=${kind} item=${item} onDone=${again} small />` },
  ];
}

const EXTRA = {
  search: [
    { title: "Data set", cell: (item) => html`<${Link} page="datasets" name=${item.spec.dataset} />` },
    { title: "Teachers", cell: (item) => [item.spec.pool, ...(item.spec.teachers?.registered ?? [])].filter(Boolean).join(", ") },
  ],
  distillation: [
    { title: "Data set", cell: (item) => html`<${Link} page="datasets" name=${item.spec.dataset} />` },
    { title: "Student", cell: (item) => (item.origin_id ? html`<${Link} page="detectors" name=${item.origin_id} />` : "base detector") },
  ],
  pool: [{ title: "Data set", cell: (item) => html`<${Link} page="datasets" name=${item.spec.dataset} />` }],
  teacher: [
    { title: "Data set", cell: (item) => html`<${Link} page="datasets" name=${item.spec.dataset} />` },
    { title: "Source", cell: (item) => item.source },
    { title: "AP %", number: true, cell: (item) => percent(item.measurement?.ap) },
    { title: "GMACs", number: true, cell: (item) => giga(item.measurement?.macs) },
  ],
  device: [
    { title: "Hardware", cell: (item) => item.hardware ?? "–" },
    { title: "Predictions off by", number: true, cell: (item) => (item.median_error === null ? "–" : `${percent(item.median_error)} %`) },
  ],
  dataset: [
    { title: "Classes", number: true, cell: (item) => item.summary?.class_names?.length ?? "–" },
  ],
};

/** What a resource does now: a bar where its end is known, else the reason of its status. */
function Doing({ kind, item }) {
  const progress = progressOf(kind, item);
  if (progress) return html`<${Progress} ...${progress} />`;
  return html`<span class="quiet small">${item.status_reason}</span>`;
}
