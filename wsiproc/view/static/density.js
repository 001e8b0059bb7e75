/** Nuclei counted in square cells over the slide, at halving detail, as pictures. */

import { DENSITY_RAMP } from "./colours.js";

const LEAST_UM = 16;
const MOST_CELLS = 1024;

/** The cell of each nucleus, by result: places never change, colours and filters do. */
const cells = new WeakMap();

function cellsOf(result, cell, columns, rows) {
  if (!cells.has(result)) {
    const { x, y } = result;
    const at = new Uint32Array(x.length);
    for (let i = 0; i < at.length; i += 1) {
      const column = Math.max(0, Math.min(columns - 1, Math.floor(x[i] / cell)));
      const row = Math.max(0, Math.min(rows - 1, Math.floor(y[i] / cell)));
      at[i] = 4 * (row * columns + column);
    }
    cells.set(result, at);
  }
  return cells.get(result);
}

/** Counts and sums of colours of all painted nuclei, from the finest cells to the coarsest. */
export function densityOf(layers, width, height) {
  const cell = Math.max(LEAST_UM, Math.max(width, height) / MOST_CELLS);
  const columns = Math.max(1, Math.ceil(width / cell));
  const rows = Math.max(1, Math.ceil(height / cell));
  const sums = new Uint32Array(4 * columns * rows); // nuclei, red, green, blue
  for (const { result, rgba } of layers) {
    const at = cellsOf(result, cell, columns, rows);
    for (let i = 0; i < rgba.length; i += 1) {
      const colour = rgba[i];
      if (colour === 0) continue;
      const k = at[i];
      sums[k] += 1;
      sums[k + 1] += colour & 255;
      sums[k + 2] += (colour >>> 8) & 255;
      sums[k + 3] += (colour >>> 16) & 255;
    }
  }
  const levels = [{ cell, columns, rows, sums }];
  while (Math.max(levels.at(-1).columns, levels.at(-1).rows) > 16) levels.push(halved(levels.at(-1)));
  return levels;
}

function halved({ cell, columns, rows, sums }) {
  const half = { cell: 2 * cell, columns: Math.ceil(columns / 2), rows: Math.ceil(rows / 2) };
  half.sums = new Uint32Array(4 * half.columns * half.rows);
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      const from = 4 * (row * columns + column);
      const to = 4 * ((row >> 1) * half.columns + (column >> 1));
      for (let k = 0; k < 4; k += 1) half.sums[to + k] += sums[from + k];
    }
  }
  return half;
}

/** The coarsest level whose cells are still at most `um` wide; the finest where none is. */
export function levelFor(levels, um) {
  return levels.findLast((level) => level.cell <= um) ?? levels[0];
}

/** A level as a canvas of one px a cell, and the nuclei per mm² that its full colour stands for.
 *
 * mixed   show the mean colour of a cell's nuclei, clearer where there are more
 */
export function pictureOf(level, mixed) {
  const { columns, rows, sums, cell } = level;
  const top = nearlyMost(sums);
  const canvas = new OffscreenCanvas(columns, rows);
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(columns, rows);
  for (let at = 0; at < sums.length; at += 4) {
    const n = sums[at];
    if (!n) continue;
    const share = Math.min(1, n / top);
    for (let k = 0; k < 3; k += 1) {
      image.data[at + k] = mixed ? sums[at + 1 + k] / n : DENSITY_RAMP[3 * Math.round(255 * share) + k];
    }
    image.data[at + 3] = mixed ? 90 + 150 * Math.sqrt(share) : 215;
  }
  pen.putImageData(image, 0, 0);
  return { canvas, cell, columns, rows, perMm2: (top / (cell * cell)) * 1e6 };
}

/** What 99 of 100 cells that hold anything hold at most. */
function nearlyMost(sums) {
  const often = [];
  let filled = 0;
  for (let at = 0; at < sums.length; at += 4) {
    if (!sums[at]) continue;
    often[sums[at]] = (often[sums[at]] ?? 0) + 1;
    filled += 1;
  }
  let below = 0;
  for (let n = 1; n < often.length; n += 1) {
    below += often[n] ?? 0;
    if (below >= 0.99 * filled) return n;
  }
  return 1;
}
