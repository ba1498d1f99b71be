// A distillation: the costs, the order and why, the AP of each stage beside the baselines.
import { html } from "htm/preact";
import { get } from "../api.js";
import { useRead } from "../live.js";
import { HeatMap } from "../charts/heat_map.js";
import { Lines } from "../charts/plot.js";
import { Bar, Card, Link, Status, Table, Waiting } from "../components/parts.js";
import { ResourceHead } from "../components/resource_head.js";
import { SpecText } from "../components/spec_text.js";
import { untilFinal } from "../model/lifecycle.js";
import { percent, points, significant, words } from "../model/numbers.js";
import { plotted, valueText, withInterval } from "../model/sweeps.js";

export default function Distillation({ name }) {
  const { value, error, again } = useRead(() => get(`/distillations/${name}`), [name], untilFinal);
  if (value === null) return html`<${Waiting} error=${error} what=${name} />`;
  const compared = value.comparison;
  return html`<div class="stack">
    <${ResourceHead} kind="distillation" item=${value} onDone=${again} facts=${[
      ["AP after the order", compared?.order != null ? `${percent(compared.order)} %` : null, true],
      ["Against its start", compared?.order != null && compared.base != null ? `${points(compared.order - compared.base)} points` : null, true],
      ["Resolution of every AP", value.resolution],
      ["Student", value.origin_id ? html`<${Link} page="detectors" name=${value.origin_id} />` : "base detector"],
    ]} />
    ${value.sweep && html`<${Sweep} sweep=${value.sweep} />`}
    ${compared && html`<${Compared} compared=${compared} />`}
    ${value.stages.length > 0 && html`<${Stages} stages=${value.stages} />`}
    <div class="columns">
      ${Object.keys(value.costs).length > 0 && html`<${Card} title="Adaptation costs">
        <${HeatMap} costs=${value.costs} path=${["student", ...value.order.map((each) => each.teacher)]} caption="Cost C(from, to): the share of the features of one that the other does not explain. Darker is cheaper; outlined is the chosen order." />
      </${Card}>`}
      ${value.order.length > 0 && html`<${Card} title="Chosen order, and why">
        <${Table} items=${value.order} keyOf=${(each) => each.teacher} columns=${[
          { title: "Teacher", cell: (each) => each.teacher },
          { title: "Cost", number: true, cell: (each) => significant(each.cost) },
          { title: "Reason", cell: (each) => each.reason },
        ]} />
      </${Card}>`}
      <${Card} title="Candidate teachers">
        <${Table} items=${value.teachers} keyOf=${(each) => each.name} columns=${[
          { title: "Teacher", cell: (each) => each.name },
          { title: "Source", cell: (each) => each.source },
          { title: "AP %", number: true, cell: (each) => percent(each.ap) },
        ]} />
      </${Card}>
    </div>
    <${Card} title="Spec"><${SpecText} spec=${value.spec} /></${Card}>
  </div>`;
}

function Compared({ compared }) {
  const rows = [
    ["before the first teacher", compared.base], ["after the order", compared.order],
    ...Object.entries(compared.baselines).map(([name, ap]) => [words(name), ap]),
  ];
  const most = Math.max(0.01, ...rows.map(([, ap]) => ap ?? 0));
  return html`<${Card} title="The order beside its baselines">
    <${Table} items=${rows} keyOf=${([name]) => name} columns=${[
      { title: "Student", cell: ([name]) => name },
      { title: "", cell: ([name, ap]) => html`<${Bar} share=${(ap ?? 0) / most} color=${name === "after the order" ? "var(--accent)" : "var(--base)"} />` },
      { title: "AP %", number: true, cell: ([, ap]) => percent(ap) },
    ]} />
    ${compared.rank !== null && html`<p>Rank ${compared.rank} of ${compared.orders.length} orders${compared.cost_and_gain !== null ? `; Kendall's tau of cost and gain ${significant(compared.cost_and_gain, 2)}` : ""}.</p>
      <${Table} items=${compared.orders} keyOf=${(each) => each.order.join()} columns=${[
        { title: "Order", cell: (each) => each.order.join(" → ") },
        { title: "Rank", number: true, cell: (each) => each.rank },
        { title: "AP %", number: true, cell: (each) => percent(each.ap) },
      ]} />`}
  </${Card}>`;
}

function Stages({ stages }) {
  const most = Math.max(0.01, ...stages.map((stage) => stage.ap ?? 0));
  return html`<${Card} title="Stages">
    <${Table} items=${stages} keyOf=${pathOf} columns=${[
      { title: "Stage", cell: (stage) => (stage.trial_id ? html`<${Link} page="detectors" name=${stage.trial_id}>${pathOf(stage)}</${Link}>` : pathOf(stage)) },
      { title: "Teacher", cell: (stage) => stage.teacher ?? "none" },
      { title: "Status", cell: (stage) => (stage.status ? html`<${Status} status=${stage.status} />` : html`<span class="quiet">waits</span>`) },
      { title: "", cell: (stage) => html`<${Bar} share=${(stage.ap ?? 0) / most} />` },
      { title: "AP %", number: true, cell: (stage) => percent(stage.ap) },
    ]} />
  </${Card}>`;
}

/** The teachers of a stage, with the value of the sweep that it is trained with. */
const pathOf = ({ path, value }) => (value === null ? path || "start" : `${path} (${value})`);

function Sweep({ sweep }) {
  const { labels, data } = plotted(sweep.students);
  return html`<${Card} title=${`Sweep of ${sweep.field}`}>
    ${labels.length > 1 && html`<${Lines} data=${data} x=${{ label: sweep.field, yLabel: "AP, %", labels }} series=${[
      { label: "validation", color: "accent", points: true },
      { label: "test", color: "good", points: true },
      { label: "test, 95 % low", color: "good", dash: [3, 4] },
      { label: "test, 95 % high", color: "good", dash: [3, 4] },
    ]} label=${`AP on validation and test by ${sweep.field}, for ${labels.length} values`} />`}
    <${Table} items=${sweep.students} keyOf=${valueText} columns=${[
      { title: "Value", cell: (each) => (each.trial_id ? html`<${Link} page="detectors" name=${each.trial_id}>${valueText(each)}</${Link}>` : valueText(each)) },
      { title: "Validation AP %", number: true, cell: (each) => withInterval(each.validation) ?? percent(each.ap) },
      { title: "Test AP %", number: true, cell: (each) => withInterval(each.test) ?? percent(null) },
      { title: "Against submitted", number: true, cell: ({ difference: found }) => (found ? `${points(found.ap)} [${points(found.low)}, ${points(found.high)}], ${words(found.conclusion)}` : percent(null)) },
    ]} />
  </${Card}>`;
}
