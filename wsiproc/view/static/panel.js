/** Parts of the panel, as elements; what they do is handed in. */

import { cssRamp, css } from "./colours.js";
import { histogram, quantiles } from "./paint.js";
import { say, titled, unitOf } from "./numbers.js";

const BINS = 48;
const STEPS = 1000;

export const find = (selector) => document.querySelector(selector);

/** An element with attributes (or listeners, where a value is a function) and children. */
export function made(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** One of a few, side by side. */
export function choice(fieldset, options, chosen, choose) {
  const name = fieldset.id;
  fieldset.querySelectorAll("label").forEach((label) => label.remove());
  for (const [value, text] of options) {
    const change = () => choose(value);
    const input = made("input", { type: "radio", name, value, checked: value === chosen, change });
    fieldset.append(made("label", {}, input, text));
  }
}

export function options(select, groups, chosen) {
  select.replaceChildren();
  for (const [label, entries] of groups) {
    const listed = entries.map(([value, text]) => made("option", { value, selected: value === chosen }, text));
    if (label) select.append(made("optgroup", { label }, ...listed));
    else select.append(...listed);
  }
}

/** Classes, or kinds of difference: [{name, color, says, text}], of which some are hidden. */
export function classList(list, entries, hidden, toggle) {
  list.replaceChildren(
    ...entries.map(({ name, color, says, text }, number) => {
      const box = made("input", {
        type: "checkbox",
        checked: !hidden.has(number),
        change: (event) => toggle(number, event.target.checked),
      });
      const dot = made("i");
      dot.style.background = css(color);
      const label = made("label", { title: says ?? null }, box, dot, made("span", {}, name), made("small", {}, text));
      return made("li", {}, label);
    }),
  );
}

export function rampLegend(table, ends) {
  const ramp = made("div", { class: "ramp" });
  ramp.style.background = cssRamp(table);
  return [ramp, made("div", { class: "ends" }, ...ends.map((text) => made("span", {}, text)))];
}

/** A column's histogram with two ends to pull; at the outermost place there is no bound. */
export function range(column, values, bounds, { changed, removed }) {
  const [least, most] = quantiles(values, [0.001, 0.999]);
  const width = most - least || 1;
  const counts = histogram(values, least, least + width, BINS);
  const tallest = Math.max(...counts, 1);
  const bars = Array.from(counts, (n, i) => {
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const height = n ? Math.max(1, (40 * n) / tallest) : 0;
    const box = { x: i * 6, y: 40 - height, width: 5, height };
    for (const [key, value] of Object.entries(box)) bar.setAttribute(key, value);
    return bar;
  });
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${BINS * 6 - 1} 40`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  svg.append(...bars);
  const place = (value, otherwise) =>
    value === null ? otherwise : Math.round(Math.max(0, Math.min(1, (value - least) / width)) * STEPS);
  const end = (which, value) => {
    const label = `${titled(column.name)}, ${which}`;
    const pull = () => pulled(which);
    return made("input", { type: "range", min: 0, max: STEPS, value, "aria-label": label, input: pull });
  };
  const [low, high] = [end("lowest", place(bounds.low, 0)), end("highest", place(bounds.high, STEPS))];
  const output = made("output");
  const said = (bound, sign) => (bound === null ? "" : `${sign} ${say(bound)}`);
  const tell = () => {
    const unit = unitOf(column);
    const both = [said(bounds.low, "≥"), said(bounds.high, "≤")].filter(Boolean).join(", ");
    output.textContent = both ? `${both} ${unit}` : `all${unit ? `, ${unit}` : ""}`;
    bars.forEach((bar, i) => {
      const middle = ((i + 0.5) / BINS) * STEPS;
      bar.classList.toggle("kept", middle >= Number(low.value) && middle <= Number(high.value));
    });
  };
  const pulled = (which) => {
    const [moved, other] = which === "lowest" ? [low, high] : [high, low];
    if (Number(low.value) > Number(high.value)) moved.value = other.value;
    bounds.low = Number(low.value) === 0 ? null : least + (width * Number(low.value)) / STEPS;
    bounds.high = Number(high.value) === STEPS ? null : least + (width * Number(high.value)) / STEPS;
    tell();
    changed();
  };
  tell();
  const what = `Remove the filter by ${titled(column.name)}`;
  const remove = made("button", { type: "button", title: what, "aria-label": what, click: removed }, "×");
  return made(
    "div",
    { class: "range", "data-column": column.name },
    made("header", {}, made("span", { title: column.says || null }, titled(column.name)), output, remove),
    svg,
    made("div", { class: "ends-of-range" }, low, high),
  );
}

/** A nucleus's row: names, numbers and units. */
export function rowTable(row, columns) {
  const known = new Map(columns.map((column) => [column.name, column]));
  return Object.entries(row).map(([name, value]) => {
    const column = known.get(name) ?? { name, unit: "" };
    const unit = unitOf(column);
    const text = typeof value === "number" && name !== "class_id" ? precise(value) : String(value);
    const term = made("dt", { title: column.says || null }, titled(name));
    return made("div", {}, term, made("dd", {}, unit ? `${text} ${unit}` : text));
  });
}

const precise = (value) => (Math.abs(value) >= 1000 ? value.toFixed(1) : String(Number(value.toPrecision(4))));
