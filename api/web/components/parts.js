// Small parts of every page: status, facts, cards, notices, tables, tabs, times.
import { html } from "htm/preact";
import { href } from "../router.js";
import { tone } from "../model/lifecycle.js";
import { NONE, ago, duration, words } from "../model/numbers.js";

export const Status = ({ status, title }) => html`<span class="status ${tone(status)}" title=${title}>${words(status)}</span>`;

export const Link = ({ page, name, options, children, ...rest }) => html`<a href=${href(page, name, options)} ...${rest}>${children ?? name}</a>`;

export const Time = ({ at }) => (at ? html`<time dateTime=${at} title=${new Date(at).toLocaleString()}>${ago(at)}</time>` : NONE);

/** A titled box; `aside` is what stands at the right of its title. */
export function Card({ title, aside, children, ...rest }) {
  return html`<section class="card" ...${rest}>
    ${title && html`<header><h2>${title}</h2>${aside}</header>`}
    ${children}
  </section>`;
}

/** Pairs of a term and its figure; those without a figure are left out. */
export function Facts({ items }) {
  const shown = items.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return html`<dl class="facts">${shown.map(([term, value, large]) => html`
    <div key=${term}><dt>${term}</dt><dd class=${large ? "large" : ""}>${value}</dd></div>`)}
  </dl>`;
}

export const Notice = ({ kind = "", children }) => html`<div class="notice ${kind}" role=${kind === "bad" ? "alert" : "status"}>${children}</div>`;

/** What a page shows while it has nothing else: that it reads, or why it cannot. */
export function Waiting({ error, what }) {
  if (error) return html`<${Notice} kind="bad"><p>${error.message}</p></${Notice}>`;
  return html`<p class="quiet">Reading ${what} …</p>`;
}

/** A share of work that is done, with words and the time left. */
export function Progress({ share, text, secondsLeft, loss }) {
  return html`<div>
    <progress max="1" value=${share} aria-label=${text}></progress>
    <div class="small quiet">${text}${loss ? `, loss ${loss.toPrecision(3)}` : ""}${secondsLeft ? `, about ${duration(secondsLeft)} left` : ""}</div>
  </div>`;
}

/** A table. Columns: `{title, cell(item), number}`; the first one names the row. `label` says what it lists. */
export function Table({ columns, items, keyOf, caption, label, rowClass }) {
  const titles = columns.map((column) => column.title).filter((title) => typeof title === "string" && title !== "");
  return html`<div class="scroll" tabindex="0" role="group" aria-label=${label ?? caption ?? titles.join(", ")}>
    <table>
      ${caption && html`<caption>${caption}</caption>`}
      <thead><tr>${columns.map((column) => html`<th scope="col" class=${column.number ? "number" : ""}>${column.title}</th>`)}</tr></thead>
      <tbody>${items.map((item, index) => html`<tr key=${keyOf ? keyOf(item) : index} class=${rowClass?.(item) ?? ""}>
        ${columns.map((column, at) => (at === 0
          ? html`<th scope="row">${column.cell(item)}</th>`
          : html`<td class=${column.number ? "number" : ""}>${column.cell(item)}</td>`))}
      </tr>`)}</tbody>
    </table>
  </div>`;
}

/** A bar for a share in [0, 1]; its figure stands beside it. */
export const Bar = ({ share, color }) => html`<span class="bar" aria-hidden="true"><span style=${{ width: `${100 * Math.max(0, Math.min(1, share))}%`, background: color }}></span></span>`;

/** Links to the parts of a page; the chosen part is an option of the address. */
export function Tabs({ page, name, chosen, tabs }) {
  return html`<nav class="tabs" aria-label="Parts of this page">${tabs.map(([key, title]) => html`
    <a key=${key} href=${href(page, name, key === tabs[0][0] ? {} : { tab: key })} aria-current=${key === chosen ? "page" : undefined}>${title}</a>`)}
  </nav>`;
}

export const Choice = ({ label, value, options, onChange }) => html`<label>${label}
  <select value=${value} onChange=${(event) => onChange(event.target.value)}>
    ${options.map(([key, text]) => html`<option value=${key} selected=${key === value}>${text}</option>`)}
  </select></label>`;

export const Legend = ({ items }) => html`<ul class="legend">${items.map(([text, color]) => html`
  <li><span class="swatch" style=${{ "--swatch": color }}></span>${text}</li>`)}</ul>`;
