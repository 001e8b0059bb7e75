/** A window on the slide: its pixels by OpenSeadragon, and over them the nuclei of some layers.
 *
 * OpenSeadragon's unit is one mm here, so pictures of any resolution lie on each other.
 */

import { densityOf, levelFor, pictureOf } from "./density.js";
import { Drawing } from "./draw.js";
import { holds } from "./triangles.js";
import { viewerOn } from "./zoom.js";

const NEAR = 2.5; // µm per px: dots up to here, density from `FAR` on, both between
const FAR = 5;
const OUTLINES = 1.3; // µm per px: outlines up to here
const MOST_DOTS = 250_000;
const NUCLEUS_UM = 6;
const CELL_PX = 5;

/** How clearly density and nuclei are seen, and whether nuclei are outlines. */
export function stageOf(umPerPx, inView, outlined, show) {
  if (show === "density") return { density: 1, nuclei: 0, outlines: false };
  const near = { density: 0, nuclei: 1, outlines: outlined && umPerPx <= OUTLINES };
  if (show === "nuclei") return near;
  if (inView > MOST_DOTS) return { density: 1, nuclei: 0, outlines: false };
  const way = Math.log(umPerPx / NEAR) / Math.log(FAR / NEAR);
  const far = Math.max(0, Math.min(1, way));
  return { ...near, density: far, nuclei: 1 - far };
}

export class Pane {
  #layers = [];
  #known = [];
  #tissue = [];
  #density = null;
  #pictures = new Map();
  #drawing = null;
  #asked = false;
  #drawn = null;

  /** `told` has what the page does: clicked(pane, um), moved(pane), drawn(pane). */
  constructor(element, slide, told, minimap) {
    this.element = element;
    this.slide = slide;
    this.told = told;
    this.options = { show: "auto", fill: false, tissue: true, slide: true, opacity: 1, mixed: false };
    this.selected = null;
    this.stage = { density: 0, nuclei: 0, outlines: false };
    this.coming = 0; // chunks of outlines that are on their way
    this.viewer = viewerOn(element, slide, minimap);
    [this.under, this.middle, this.over] = ["under", "nuclei", "over"].map((name) => {
      const canvas = document.createElement("canvas");
      canvas.className = `drawn ${name}`;
      this.viewer.canvas.append(canvas);
      return canvas;
    });
    try {
      this.#drawing = new Drawing(this.middle);
    } catch (error) {
      this.trouble = `${error.message}: nuclei are shown as density only.`;
    }
    this.viewer.addHandler("update-viewport", () => this.draw());
    this.viewer.addHandler("resize", () => this.redraw());
    this.viewer.addHandler("viewport-change", () => told.moved(this));
    this.viewer.addHandler("canvas-click", (event) => {
      if (event.quick) told.clicked(this, this.umAt(event.position));
    });
  }

  /** Show these: [{result, rgba}], in this order. */
  show(layers) {
    this.#layers = layers.map(({ result, rgba }) => {
      let layer = this.#known.find((one) => one.result === result);
      if (!layer) {
        layer = this.#drawing ? this.#drawing.layer(result) : { result, outlines: new Map() };
        result.listen(() => this.redraw(), (number) => this.#drawing?.forget(layer, number));
        this.#known.push(layer);
      }
      if (layer.rgba !== rgba) this.#drawing?.paint(layer, rgba);
      layer.rgba = rgba;
      return layer;
    });
    this.#density = null;
    this.#pictures.clear();
    this.redraw();
  }

  /** The rims of the regions that were searched. */
  tissue(rings) {
    this.#tissue = rings;
    this.redraw();
  }

  /** Where the window lies: µm and px of the screen. */
  get view() {
    const { x, y, width, height } = this.viewer.viewport.getBounds(true);
    const css = this.viewer.viewport.getContainerSize();
    const um = { x0: 1000 * x, y0: 1000 * y, x1: 1000 * (x + width), y1: 1000 * (y + height) };
    return { ...um, umPerPx: (1000 * width) / css.x, width: css.x, height: css.y };
  }

  /** Whether all that belongs into the window as it lies now has been drawn. */
  get finished() {
    if (this.element.hidden) return true;
    const [now, then] = [this.view, this.#drawn];
    return then && !this.coming && Object.keys(now).every((key) => now[key] === then[key]);
  }

  umAt(pixel) {
    const { x, y } = this.viewer.viewport.pointFromPixel(pixel, true);
    return { x: 1000 * x, y: 1000 * y };
  }

  /** Look at a place: its middle and width, µm. */
  goTo({ x, y, w }, atOnce = false) {
    const { width, height } = this.view;
    const h = (w * height) / width;
    const box = new OpenSeadragon.Rect((x - w / 2) / 1000, (y - h / 2) / 1000, w / 1000, h / 1000);
    this.viewer.viewport.fitBounds(box, atOnce);
  }

  whole(atOnce = false) {
    this.viewer.viewport.goHome(atOnce);
  }

  /** Draw when the browser draws next. */
  redraw() {
    if (this.#asked) return;
    this.#asked = true;
    requestAnimationFrame(() => {
      this.#asked = false;
      this.draw();
    });
  }

  draw() {
    if (this.element.hidden) return;
    const view = this.view;
    if (!(view.width > 0)) return;
    const began = performance.now();
    const dpr = window.devicePixelRatio || 1;
    for (const canvas of [this.under, this.middle, this.over]) fit(canvas, view, dpr);
    this.#slideSeen(view);
    const chunks = this.#layers.map(({ result }) => result.inBox(view));
    const inView = chunks.flat().reduce((sum, chunk) => sum + chunk.rows * share(chunk, view), 0);
    const outlined = this.#layers.some(({ result }) => result.facts.outlined);
    this.stage = stageOf(view.umPerPx, inView, outlined, this.options.show);
    if (!this.#drawing) this.stage = { density: 1, nuclei: 0, outlines: false };
    this.#drawUnder(view, dpr);
    this.#drawNuclei(view, dpr, chunks);
    this.#drawOver(view, dpr);
    this.took = performance.now() - began;
    this.#drawn = view;
    this.told.drawn(this);
  }

  /** A nucleus at a place in µm: {result, row}, or null; none where only density is seen. */
  nucleusAt({ x, y }) {
    if (this.stage.nuclei === 0) return null;
    let best = null;
    const reach = Math.max(6 * this.view.umPerPx, 2);
    const box = { x0: x - reach, x1: x + reach, y0: y - reach, y1: y + reach };
    for (const { result, rgba } of [...this.#layers].reverse()) {
      const far = result.facts.largest_um;
      for (const chunk of result.inBox(box)) {
        const outlines = this.stage.outlines && result.facts.outlined && result.outlines(chunk);
        for (let row = chunk.first; row < chunk.first + chunk.rows; row += 1) {
          if (rgba[row] === 0) continue;
          const from = Math.hypot(result.x[row] - x, result.y[row] - y);
          if (from > far + reach) continue;
          if (outlines) {
            const [i, { start, xy }] = [row - chunk.first, outlines];
            if (holds(xy, start[i], start[i + 1], x, y)) return { result, row };
          }
          if (from <= reach && (!best || from < best.from)) best = { result, row, from };
        }
      }
    }
    return best;
  }

  /** Nuclei that are shown and whose centroid lies in the window, of each layer. */
  inView() {
    const { x0, x1, y0, y1 } = this.view;
    return this.#layers.map(({ result, rgba }) => {
      let found = 0;
      const { x, y } = result;
      for (const { first, rows } of result.inBox({ x0, x1, y0, y1 })) {
        for (let i = first; i < first + rows; i += 1) {
          if (rgba[i] !== 0 && x[i] >= x0 && x[i] < x1 && y[i] >= y0 && y[i] < y1) found += 1;
        }
      }
      return { result, found };
    });
  }

  /** Nuclei per mm² of the strongest colour, where density is seen. */
  get densest() {
    return this.stage.density > 0 && this.picture ? this.picture.perMm2 : null;
  }

  /** Pictures can be turned off; tiles wait where a window would ask for too many of them. */
  #slideSeen({ umPerPx }) {
    const { world, slideItem } = this.viewer;
    const { tiles } = this.slide;
    for (let i = 0; i < world.getItemCount(); i += 1) {
      const item = world.getItemAt(i);
      let seen = this.options.slide;
      if (item === slideItem) {
        const per = 2 ** (tiles.max_level - tiles.min_level);
        const oneTile = Math.max(tiles.width, tiles.height) <= per * tiles.tile;
        seen &&= oneTile || umPerPx <= 2 * per * tiles.um_per_px;
      }
      if (item.getOpacity() !== Number(seen)) item.setOpacity(Number(seen));
    }
  }

  #drawUnder(view, dpr) {
    const tissue = this.options.tissue && this.#tissue.length > 0;
    this.under.hidden = this.stage.density === 0 && !tissue;
    if (this.under.hidden) return;
    const pen = this.under.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, this.under.width, this.under.height);
    const k = dpr / view.umPerPx;
    pen.setTransform(k, 0, 0, k, -view.x0 * k, -view.y0 * k);
    this.picture = null;
    if (this.stage.density > 0 && this.#layers.length) {
      const picture = this.#pictureFor(view.umPerPx);
      this.picture = picture;
      pen.globalAlpha = this.stage.density * this.options.opacity;
      pen.imageSmoothingQuality = "high";
      const { canvas, cell, columns, rows } = picture;
      pen.drawImage(canvas, 0, 0, columns * cell, rows * cell);
      pen.globalAlpha = 1;
    }
    if (tissue) {
      pen.lineWidth = 1.5 * view.umPerPx;
      pen.strokeStyle = "rgb(0, 132, 110)";
      for (const path of this.#tissue) pen.stroke(path);
    }
  }

  #pictureFor(umPerPx) {
    const { width_um, height_um } = this.slide;
    this.#density ??= densityOf(this.#layers, width_um, height_um);
    const level = levelFor(this.#density, CELL_PX * umPerPx);
    const { mixed } = this.options;
    const name = `${level.cell} ${mixed}`;
    if (!this.#pictures.has(name)) this.#pictures.set(name, pictureOf(level, mixed));
    return this.#pictures.get(name);
  }

  #drawNuclei(view, dpr, chunks) {
    if (!this.#drawing) return;
    this.coming = 0;
    this.middle.hidden = this.stage.nuclei === 0;
    if (this.middle.hidden) return;
    this.middle.style.opacity = this.stage.nuclei * this.options.opacity;
    this.#drawing.begin({
      left: view.x0,
      top: view.y0,
      scale: dpr / view.umPerPx,
      width: this.middle.width,
      height: this.middle.height,
    });
    const dot = Math.max(1.5, Math.min(14, NUCLEUS_UM / view.umPerPx)) * dpr;
    this.#layers.forEach((layer, i) => {
      const { result } = layer;
      if (!this.stage.outlines || !result.facts.outlined) {
        this.#drawing.dots(layer, chunks[i], dot);
        return;
      }
      const here = chunks[i].map((chunk) => [chunk, result.outlines(chunk)]);
      const coming = here.filter(([, outlines]) => !outlines).map(([chunk]) => chunk);
      this.coming += coming.length;
      this.#drawing.dots(layer, coming, dot / 2);
      const line = (view.umPerPx > 0.6 ? 1.25 : 1.75) * dpr;
      const outlines = here.map(([, some]) => some).filter(Boolean);
      this.#drawing.outlines(layer, outlines, line, this.options.fill);
    });
  }

  #drawOver(view, dpr) {
    this.over.hidden = !this.#layers.some(({ result }) => result === this.selected?.result);
    if (this.over.hidden) return;
    const pen = this.over.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, this.over.width, this.over.height);
    const { result, row } = this.selected;
    const k = dpr / view.umPerPx;
    pen.setTransform(k, 0, 0, k, -view.x0 * k, -view.y0 * k);
    const path = new Path2D();
    const chunk = result.chunks[Math.floor(row / result.facts.chunk_rows)];
    const outlines = this.stage.outlines && result.facts.outlined && result.outlines(chunk);
    if (outlines) {
      const [first, stop] = [outlines.start[row - chunk.first], outlines.start[row - chunk.first + 1]];
      for (let i = first; i < stop; i += 1) path.lineTo(outlines.xy[2 * i], outlines.xy[2 * i + 1]);
      path.closePath();
    } else {
      path.arc(result.x[row], result.y[row], Math.max(NUCLEUS_UM, 9 * view.umPerPx), 0, 2 * Math.PI);
    }
    pen.lineJoin = "round";
    for (const [style, width] of [["rgba(20, 20, 26, 0.9)", 5], ["#fff", 2.25]]) {
      pen.strokeStyle = style;
      pen.lineWidth = width * view.umPerPx;
      pen.stroke(path);
    }
  }
}

/** Rings of a result's tissue as paths in µm. */
export function pathsOf(start, xy) {
  const paths = [];
  for (let i = 0; i + 1 < start.length; i += 1) {
    const path = new Path2D();
    for (let k = start[i]; k < start[i + 1]; k += 1) path.lineTo(xy[2 * k], xy[2 * k + 1]);
    path.closePath();
    paths.push(path);
  }
  return paths;
}

function fit(canvas, { width, height }, dpr) {
  const [w, h] = [Math.round(width * dpr), Math.round(height * dpr)];
  if (canvas.width !== w) canvas.width = w;
  if (canvas.height !== h) canvas.height = h;
}

/** The share of a chunk's box that lies in the window. */
function share(chunk, view) {
  const part = (a0, a1, b0, b1) => Math.max(0, Math.min(a1, b1) - Math.max(a0, b0)) / Math.max(a1 - a0, 1e-9);
  return part(chunk.x0, chunk.x1, view.x0, view.x1) * part(chunk.y0, chunk.y1, view.y0, view.y1);
}
