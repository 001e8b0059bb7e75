/** What each nucleus looks like: one RGBA a row, alpha 0 for those that are filtered out.
 *
 * All that is drawn (density, dots, outlines) and all that is counted reads this and nothing else.
 */

import { PLAIN, VALUE_RAMP, packed } from "./colours.js";

/** What colours without a column of its own. */
const PLAINLY = ["class", "density", "difference"];

/** Paint every nucleus of a result.
 *
 * by      "class", "density", "difference" or a column's name
 * hidden  a set of classes, or of kinds of difference, that are left out
 * kept    [{name, low, high}]: null is no bound
 * scale   [low, high] of the column that colours
 */
export async function paint(result, { by, hidden, hiddenKinds, kept, scale, kinds }) {
  const n = result.length;
  const out = new Uint32Array(n);
  const columns = await Promise.all(kept.map(({ name }) => result.column(name)));
  const values = PLAINLY.includes(by) ? null : await result.column(by);
  const kindsOf = by === "difference" ? await result.column("difference") : null;
  const { classes } = result;
  const table = tableOf(result, by, kinds);
  // A plain loop for each step: engines run them at a few ns a nucleus.
  if (values) {
    const [low, high] = scale;
    const per = 255 / (high - low || 1);
    for (let i = 0; i < n; i += 1) {
      const place = (values[i] - low) * per;
      out[i] = table[place > 0 ? (place < 255 ? Math.round(place) : 255) : 0];
    }
  } else {
    const codes = kindsOf ?? classes;
    for (let i = 0; i < n; i += 1) out[i] = table[codes[i]];
  }
  leaveOut(out, classes, hidden);
  if (kindsOf) leaveOut(out, kindsOf, hiddenKinds);
  kept.forEach(({ low, high }, k) => leaveOutside(out, columns[k], low ?? -Infinity, high ?? Infinity));
  let shown = 0;
  for (let i = 0; i < n; i += 1) if (out[i] !== 0) shown += 1;
  return { rgba: out, shown };
}

function leaveOut(rgba, codes, hidden) {
  if (!hidden.size) return;
  const gone = new Uint8Array(256);
  for (const code of hidden) gone[code] = 1;
  for (let i = 0; i < rgba.length; i += 1) if (gone[codes[i]]) rgba[i] = 0;
}

/** A value that is no number is outside of any bounds. */
function leaveOutside(rgba, values, low, high) {
  if (low === -Infinity && high === Infinity) return;
  for (let i = 0; i < rgba.length; i += 1) if (!(values[i] >= low && values[i] <= high)) rgba[i] = 0;
}

function tableOf(result, by, kinds) {
  const table = new Uint32Array(256).fill(packed(...PLAIN));
  if (by === "class") {
    result.facts.classes.forEach(({ color }, i) => (table[i] = packed(...color)));
  } else if (by === "difference") {
    kinds.forEach(({ color }, i) => (table[i] = packed(...color)));
  } else if (by !== "density") {
    for (let i = 0; i < 256; i += 1) table[i] = packed(...VALUE_RAMP.slice(3 * i, 3 * i + 3));
  }
  return table;
}

/** The values below which the given shares of a column lie, from a sample of it. */
export function quantiles(values, shares) {
  const step = Math.max(1, Math.floor(values.length / 20_000));
  const sample = [];
  for (let i = 0; i < values.length; i += step) if (Number.isFinite(values[i])) sample.push(values[i]);
  sample.sort((a, b) => a - b);
  if (!sample.length) return shares.map(() => 0);
  return shares.map((share) => sample[Math.round(share * (sample.length - 1))]);
}

/** How many values lie in each of `bins` equal parts of [low, high]; the rest count at the ends. */
export function histogram(values, low, high, bins) {
  const counts = new Uint32Array(bins);
  const per = bins / (high - low || 1);
  for (let i = 0; i < values.length; i += 1) {
    if (Number.isNaN(values[i])) continue;
    counts[Math.max(0, Math.min(bins - 1, Math.floor((values[i] - low) * per)))] += 1;
  }
  return counts;
}
