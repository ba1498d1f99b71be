// A table of any length: only the rows that are seen are in the document.
import { html } from "htm/preact";
import { useRef, useState } from "preact/hooks";

const ROW_PX = 34; // as in style.css
const VISIBLE = 16;
const MARGIN = 12;

/** Columns: `{key, title, cell(row), number}`; a column with `sort(row)` can be sorted by. */
export function VirtualTable({ columns, rows, keyOf, label, rowClass, className = "", sorted, onSort }) {
  const box = useRef(null);
  const [first, setFirst] = useState(0);
  const follow = () => {
    const seen = Math.max(0, Math.floor(box.current.scrollTop / ROW_PX) - MARGIN);
    if (Math.abs(seen - first) >= MARGIN / 2 || seen === 0) setFirst(seen);
  };
  const start = Math.min(first, Math.max(0, rows.length - VISIBLE));
  const shown = rows.slice(start, start + VISIBLE + 2 * MARGIN);
  const below = rows.length - start - shown.length;
  return html`<div class="virtual ${className}" ref=${box} onScroll=${follow} tabindex="0" role="group" aria-label=${label}>
    <table aria-rowcount=${rows.length + 1}>
      <thead><tr>${columns.map((column) => html`<${Heading} key=${column.key} column=${column} sorted=${sorted} onSort=${onSort} />`)}</tr></thead>
      <tbody>
        <${Gap} rows=${start} span=${columns.length} />
        ${shown.map((row, index) => html`<tr key=${keyOf(row)} aria-rowindex=${start + index + 2} class=${rowClass?.(row) ?? ""}>
          ${columns.map((column) => html`<td key=${column.key} class=${column.number ? "number" : ""} style=${column.style?.(row)}>${column.cell(row)}</td>`)}
        </tr>`)}
        <${Gap} rows=${below} span=${columns.length} />
      </tbody>
    </table>
  </div>`;
}

const Gap = ({ rows, span }) => (rows > 0 ? html`<tr class="gap" aria-hidden="true"><td colspan=${span} style=${{ height: `${rows * ROW_PX}px` }}></td></tr>` : null);

function Heading({ column, sorted, onSort }) {
  const className = column.number ? "number" : "";
  if (!column.sort || !onSort) return html`<th scope="col" class=${className}>${column.title}</th>`;
  const isSorted = sorted?.key === column.key;
  const order = isSorted ? (sorted.descending ? "descending" : "ascending") : "none";
  const arrow = isSorted ? (sorted.descending ? " ↓" : " ↑") : "";
  return html`<th scope="col" class=${className} aria-sort=${order}>
    <button type="button" onClick=${() => onSort({ key: column.key, descending: isSorted ? !sorted.descending : Boolean(column.number) })}>${column.title}${arrow}</button>
  </th>`;
}

/** Return the rows in the order of a column; rows without a value come last. */
export function sortedRows(rows, columns, sorted) {
  const column = columns.find((each) => each.key === sorted?.key);
  if (!column?.sort) return rows;
  const sign = sorted.descending ? -1 : 1;
  return [...rows].sort((one, other) => {
    const [a, b] = [column.sort(one), column.sort(other)];
    if (a === b) return 0;
    if (a === null || a === undefined) return 1;
    if (b === null || b === undefined) return -1;
    return (a < b ? -1 : 1) * sign;
  });
}
