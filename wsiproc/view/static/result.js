/** One result: a number for each nucleus of each column asked for, and outlines where one looks.
 *
 * Rows lie along a Hilbert curve, so those of a chunk lie together: a window touches few chunks,
 * and only theirs are fetched.
 */

import { buffer, bytes, floats, json } from "./server.js";

const KEPT = 160; // chunks of outlines
const AGAIN_MS = 3000; // until a chunk that did not come is asked for again

/** A result with the columns that everything needs. */
export async function openResult(facts) {
  const path = `results/${facts.key}`;
  const [x, y, classes] = await Promise.all([
    floats(`${path}/columns/x_um`),
    floats(`${path}/columns/y_um`),
    bytes(`${path}/columns/class_id`),
  ]);
  return new Result(facts, path, x, y, classes);
}

export class Result {
  #columns = new Map();
  #outlines = new Map();
  #came = [];
  #went = [];

  constructor(facts, path, x, y, classes) {
    this.facts = facts;
    this.path = path;
    this.x = x;
    this.y = y;
    this.classes = classes;
    this.length = x.length;
    this.chunks = chunksOf(x, y, facts.chunk_rows);
  }

  /** A column, one number a nucleus, fetched once; "difference" is what became of each. */
  column(name) {
    if (!this.#columns.has(name)) {
      const path = name === "difference" ? `${this.path}/difference` : `${this.path}/columns/${name}`;
      this.#columns.set(name, name === "difference" ? bytes(path) : floats(path));
    }
    return this.#columns.get(name);
  }

  /** Everything that is stored of one nucleus. */
  row(number) {
    return json(`${this.path}/rows/${number}`);
  }

  /** The row of a nucleus by its id. */
  async find(id) {
    return (await json(`${this.path}/ids/${id}`)).row;
  }

  /** The chunks that may have something in a box, µm. */
  inBox(box) {
    const margin = this.facts.largest_um;
    const meet = (low, high, from, to) => low - margin < to && high + margin > from;
    return this.chunks.filter((c) => meet(c.x0, c.x1, box.x0, box.x1) && meet(c.y0, c.y1, box.y0, box.y1));
  }

  /** Outlines of a chunk if they are here, else undefined, and they are on their way. */
  outlines(chunk) {
    const known = this.#outlines.get(chunk.number);
    if (known) {
      this.#outlines.delete(chunk.number);
      this.#outlines.set(chunk.number, known); // the last used come last
      return known.xy && known;
    }
    this.#outlines.set(chunk.number, {});
    this.#load(chunk).catch(() => setTimeout(() => this.#outlines.delete(chunk.number), AGAIN_MS));
    return undefined;
  }

  /** Hear when outlines have come, and which chunk's are forgotten. */
  listen(came, went) {
    this.#came.push(came);
    this.#went.push(went);
  }

  /** Rims of the regions that were searched: {start, xy}. */
  async tissue() {
    return this.facts.tissue ? ringsOf(await buffer(`${this.path}/tissue`)) : { start: [0], xy: [] };
  }

  async #load(chunk) {
    const rings = ringsOf(await buffer(`${this.path}/outlines/${chunk.number}`));
    this.#outlines.set(chunk.number, { number: chunk.number, first: chunk.first, ...rings });
    this.#forget();
    for (const heard of this.#came) heard();
  }

  #forget() {
    for (const [number, outlines] of this.#outlines) {
      if (this.#outlines.size <= KEPT) break;
      this.#outlines.delete(number);
      for (const heard of this.#went) heard(outlines.number);
    }
  }
}

/** Rings as they are sent: how many, where each begins, and x and y of all vertices, µm. */
function ringsOf(data) {
  const n = new Uint32Array(data, 0, 1)[0];
  return { start: new Uint32Array(data, 4, n + 1), xy: new Float32Array(data, 4 * (n + 2)) };
}

function chunksOf(x, y, rows) {
  const chunks = [];
  for (let first = 0; first < x.length; first += rows) {
    const stop = Math.min(first + rows, x.length);
    const box = { x0: x[first], x1: x[first], y0: y[first], y1: y[first] };
    const chunk = { number: first / rows, first, rows: stop - first, ...box };
    for (let i = first; i < stop; i += 1) {
      if (x[i] < chunk.x0) chunk.x0 = x[i];
      else if (x[i] > chunk.x1) chunk.x1 = x[i];
      if (y[i] < chunk.y0) chunk.y0 = y[i];
      else if (y[i] > chunk.y1) chunk.y1 = y[i];
    }
    chunks.push(chunk);
  }
  return chunks;
}
