// Points of cost and accuracy with lines over them: hover shows a point, click opens it, a drawn box chooses points.
import { html } from "htm/preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Plot, axis, padded } from "./plot.js";
import { color } from "./colors.js";
import { groupsOf, nearest, within } from "../model/points.js";

const REACH_PX = 24;
const DENSE = 300; // more points are drawn small and faint, so that lines stay seen

/** Draw points `{x, y, group}`, ascending in x.
 *
 * Args: groups `[{name, color, faint}]`; lines `[{name, color, points, dots}]`; xLabel, yLabel;
 * describe(point) returns what hovering shows; onOpen(point); onChoose(points or null). */
export function Scatter({ points, groups, lines = [], xLabel, yLabel, describe, onOpen, onChoose, height = 380, label }) {
  const data = useMemo(() => groupsOf(points, groups, lines), [points, groups, lines]);
  const [hovered, setHovered] = useState(null);
  const isDense = points.length > DENSE;
  const latest = useRef({});
  latest.current = { points, onOpen, onChoose, hovered };
  const options = () => ({
    scales: { x: { time: false, range: padded }, y: { range: padded } },
    axes: [axis(xLabel), axis(yLabel)],
    legend: { show: false },
    cursor: { points: { show: false }, x: false, y: false, drag: { x: true, y: true, setScale: false, uni: 12 } },
    series: [{}, ...groups.map((group) => dots(group, isDense)), ...lines.map(line)],
    hooks: {
      setCursor: [(chart) => setHovered(pointAt(chart, latest.current.points))],
      setSelect: [(chart) => latest.current.onChoose?.(chosen(chart, latest.current.points))],
    },
  });
  const shape = [xLabel, yLabel, isDense, ...groups.map((group) => group.name), ...lines.map((each) => each.name)].join();
  const ready = (chart) => {
    let down = null;
    chart.over.addEventListener("mousedown", (event) => { down = [event.clientX, event.clientY]; });
    chart.over.addEventListener("mouseup", (event) => {
      const isClick = down !== null && Math.hypot(event.clientX - down[0], event.clientY - down[1]) < 4;
      if (isClick && latest.current.hovered) latest.current.onOpen?.(latest.current.hovered.point);
    });
    chart.over.addEventListener("mouseleave", () => setHovered(null));
  };
  return html`<${Plot} options=${options} data=${data} shape=${shape} height=${height} label=${label} onReady=${ready}>
    <${Tip} hovered=${hovered} describe=${describe} />
  </${Plot}>`;
}

function Tip({ hovered, describe }) {
  const tip = useRef(null);
  useEffect(() => {
    if (!hovered) return;
    const right = hovered.left > hovered.width / 2;
    tip.current.style.transform = `translate(${hovered.left + (right ? -14 : 14)}px, ${hovered.top + 12}px) translateX(${right ? "-100%" : "0"})`;
  }, [hovered]);
  return html`<div class="tip" hidden=${!hovered} ref=${tip}>${hovered && describe(hovered.point)}</div>
    ${hovered && html`<div class="ring" style=${{ transform: `translate(${hovered.left}px, ${hovered.top}px)` }}></div>`}`;
}

function dots(group, isDense) {
  const isFaint = group.faint && isDense;
  return {
    paths: () => null,
    points: { show: true, size: isFaint ? 5 : 8, width: 0, stroke: color(group.color), fill: color(group.color) },
    alpha: isFaint ? 0.35 : 0.85,
  };
}

function line(each) {
  const drawn = color(each.color);
  return { stroke: drawn, width: 2, spanGaps: true, points: { show: Boolean(each.dots), size: 9, width: 0, stroke: drawn, fill: drawn } };
}

/** Return the point under the cursor with its place in the chart; null if none is near. */
function pointAt(chart, points) {
  const { left, top } = chart.cursor;
  if (left === undefined || left < 0) return null;
  const found = nearest(points, scaleOf(chart), { left, top }, REACH_PX);
  if (!found) return null;
  const ratio = devicePixelRatio;
  return {
    point: found.point, width: chart.bbox.width / ratio,
    left: found.left + chart.bbox.left / ratio, top: found.top + chart.bbox.top / ratio,
  };
}

function chosen(chart, points) {
  const { left, top, width, height } = chart.select;
  if (width < 4 || height < 4) return null;
  return within(points, scaleOf(chart), { left, top, width, height });
}

/** Return how values become pixels, which is linear: a call of uPlot for each point would be slow. */
function scaleOf(chart) {
  const axisOf = (key) => {
    const { min, max } = chart.scales[key];
    const [zero, one] = [chart.valToPos(min, key), chart.valToPos(max, key)];
    return { offset: zero - (min * (one - zero)) / (max - min), factor: (one - zero) / (max - min) };
  };
  return { x: axisOf("x"), y: axisOf("y") };
}
