// A table of costs, shaded: the darker, the cheaper; the chosen order is outlined.
import { html } from "htm/preact";

/** `costs[a][b]` is the cost from a to b; `path` is a list of names that follow each other. */
export function HeatMap({ costs, path, caption }) {
  const rows = Object.keys(costs);
  const names = [...new Set(rows.flatMap((row) => Object.keys(costs[row])))];
  const values = rows.flatMap((row) => Object.values(costs[row]));
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const shade = (value) => (high > low ? ((high - value) / (high - low)) * 45 : 25);
  const follows = (from, to) => path.some((name, index) => name === from && path[index + 1] === to);
  return html`<div class="scroll" tabindex="0" role="group" aria-label=${caption}><table class="heat">
    <caption>${caption}</caption>
    <thead><tr><th scope="col">from \\ to</th>${names.map((name) => html`<th scope="col" key=${name}>${name}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr key=${row}><th scope="row">${row}</th>${names.map((name) => {
      const value = costs[row][name];
      if (value === undefined) return html`<td key=${name}>–</td>`;
      return html`<td key=${name} class=${follows(row, name) ? "on-path" : ""} style=${{ "--heat": `${shade(value)}%` }}>${value.toFixed(3)}</td>`;
    })}</tr>`)}</tbody>
  </table></div>`;
}
