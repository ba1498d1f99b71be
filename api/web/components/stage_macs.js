// Multiply-accumulates of each stage of the backbone: the base and the best detector.
import { html } from "htm/preact";
import { get } from "../api.js";
import { useRead } from "../live.js";
import { Bar, Card, Table } from "./parts.js";
import { stageMacs } from "../model/architecture.js";
import { giga, significant } from "../model/numbers.js";

export function StageMacs({ search }) {
  const best = search.best_trial_id;
  const { value } = useRead(async () => {
    if (best === null) return null;
    return Promise.all([get(`/detectors/${search.id}-base`), get(`/detectors/${best}`)]);
  }, [search.id, best]);
  if (!value) return null;
  return html`<${StageMacsOf} base=${value[0].detector.architecture} own=${value[1].detector.architecture}
    resolution=${search.spec.score.base_resolution} title="MACs by stage, base and best" />`;
}

/** The stages of two backbones at one resolution, "WxH" in pixels. */
export function StageMacsOf({ base, own, resolution, title }) {
  const [width, height] = resolution.split("x").map(Number);
  const [before, after] = [stageMacs(base, width, height), stageMacs(own, width, height)];
  const most = Math.max(...before, ...after);
  const rows = before.map((macs, index) => ({ stage: index + 1, before: macs, after: after[index] }));
  return html`<${Card} title=${title}>
    <${Table} items=${rows} keyOf=${(row) => row.stage} columns=${[
      { title: "Stage", cell: (row) => row.stage },
      { title: "Backbone", cell: (row) => html`<${Bar} share=${row.before / most} color="var(--base)" /><${Bar} share=${row.after / most} />` },
      { title: "Base GMACs", number: true, cell: (row) => giga(row.before) },
      { title: "Now", number: true, cell: (row) => giga(row.after) },
      { title: "Ratio", number: true, cell: (row) => significant(row.after / row.before, 2) },
    ]} />
    <p class="small quiet">Convolutions of the backbone at ${resolution}; neck and head come on top.</p>
  </${Card}>`;
}
