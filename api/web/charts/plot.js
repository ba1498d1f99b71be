// A chart of uPlot as a component: as wide as its place, in the colours of the page.
import { html } from "htm/preact";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { color, useScheme } from "./colors.js";
import { tick } from "../model/numbers.js";

const FONT = "12px system-ui, sans-serif";

/** Draw `data` (uPlot's: x, then one list for each series).
 *
 * `options()` is called when `shape` changes; new data alone are drawn without it. `onReady` gets
 * the chart. `label` says what is seen, for those who cannot see it. */
export function Plot({ options, data, shape, height = 320, label, onReady, children }) {
  const place = useRef(null);
  const chart = useRef(null);
  const scheme = useScheme();
  useEffect(() => {
    const box = place.current; // it is null when the page is left, before this is cleaned up
    const made = new uPlot({ ...options(), width: box.clientWidth, height }, data, box);
    chart.current = made;
    onReady?.(made);
    let frame = null;
    const resize = () => { frame = null; made.setSize({ width: box.clientWidth, height }); };
    const watcher = new ResizeObserver(() => { frame ??= requestAnimationFrame(resize); }); // a legend that wraps anew changes what is observed
    watcher.observe(box);
    return () => { watcher.disconnect(); cancelAnimationFrame(frame); made.destroy(); chart.current = null; };
  }, [shape, scheme, height]);
  useEffect(() => {
    if (chart.current && chart.current.data !== data) chart.current.setData(data);
  }, [data]);
  return html`<div class="plot" role="img" aria-label=${label}><div ref=${place}></div>${children}</div>`;
}

/** An axis with a title, in quiet colours. */
export function axis(label, more = {}) {
  const quiet = color("quiet");
  const line = color("line");
  return { label, stroke: quiet, font: FONT, labelFont: FONT, labelSize: 22, values: (_chart, ticks, _axis, _space, step) => ticks.map((value) => tick(value, step)), grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, ...more };
}

/** A range with a margin, also where all values are equal. */
export function padded(_chart, low, high) {
  if (low === null || high === null) return [0, 1];
  const margin = (high - low || Math.abs(high) || 1) * 0.06;
  return [low - margin, high + margin];
}

/** Lines over a common x: `series` is `[{label, color, dash, points}]`. Values are read in the legend.
 *
 * `x` is `{label, yLabel, labels}`; with `labels`, x are positions in them, equally far apart. */
export function Lines({ x, series, data, height = 260, label }) {
  const options = () => ({
    scales: { x: { time: false }, y: { range: padded } },
    axes: [axis(x.label, x.labels && { splits: () => data[0], values: () => x.labels }), axis(x.yLabel)],
    cursor: { y: false },
    series: [{ label: x.label, ...(x.labels && { value: (_, at) => x.labels[at] ?? "–" }) }, ...series.map((each) => ({
      label: each.label, stroke: color(each.color), width: 2, dash: each.dash, spanGaps: true,
      points: { show: each.points ?? data[0].length < 40, size: 5 }, value: (_, value) => (value === null ? "–" : value.toPrecision(4)),
    }))],
  });
  const shape = `${x.label} ${x.yLabel} ${x.labels?.join() ?? ""} ${series.map((each) => each.label).join()} ${data[0].length < 40}`;
  return html`<${Plot} options=${options} data=${data} shape=${shape} height=${height} label=${label} />`;
}
