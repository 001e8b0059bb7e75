/** The page: what is chosen, and what follows from it.
 *
 *   choices ──► paint of each result ──► panes (density, dots, outlines) and counts
 */

import { DENSITY_RAMP, VALUE_RAMP } from "./colours.js";
import { count, labelled, round125, say } from "./numbers.js";
import { paint, quantiles } from "./paint.js";
import { Pane, pathsOf } from "./pane.js";
import { choice, classList, find, made, options, rampLegend, range, rowTable } from "./panel.js";
import * as place from "./place.js";
import { openResult } from "./result.js";
import { json } from "./server.js";

const MODES = [["a", "A"], ["b", "B"], ["side", "A | B"], ["difference", "Difference"]];
const SHOWN = [["auto", "By zoom"], ["density", "Density"], ["nuclei", "Nuclei"]];
const COLOUR_ENDS = [0.01, 0.99];

// OpenSeadragon would write a style into the page, which the page forbids, unless it finds one: what
// it finds is none to the browser.  Its rule stands in style.css.
const placeholder = document.createElementNS(null, "style");
placeholder.setAttribute("data-openseadragon-mobile-css", "");
document.head.append(placeholder);

const facts = await json("facts");
const results = await Promise.all(facts.results.map(openResult));
const [first] = results;
const begin = place.read(location.hash);
const several = first.facts.classes.length > 1;

/** What people choose; all of it can be linked to. */
const chosen = {
  mode: results.length > 1 && MODES.some(([name]) => name === begin.mode) ? begin.mode : "a",
  by: begin.by ?? (several ? "class" : "density"),
  show: SHOWN.some(([name]) => name === begin.show) ? begin.show : "auto",
  fill: begin.fill ?? false,
  hide: new Set(begin.hide),
  hideKinds: new Set(),
  kept: begin.kept.filter(({ name }) => first.facts.columns.some((column) => column.name === name)),
  nucleus: null,
};
let kinds = [];
let leader = null;
let painting = null;
let paintAgain = false;
let opened = 0;

const told = { clicked: select, moved: follow, drawn: tell };
const panes = ["#pane-a", "#pane-b"]
  .slice(0, results.length)
  .map((id, i) => new Pane(find(id), facts.slide, told, i === 0));
[leader] = panes;
for (const pane of panes) {
  pane.element.addEventListener("pointerenter", () => (leader = pane));
  pane.element.addEventListener("pointermove", (event) => point(pane, event));
  pane.element.addEventListener("pointerleave", () => (find(".pointer").textContent = ""));
  pane.viewer.addOnceHandler("open", () => {
    opened += 1;
    if (opened === panes.length) start();
  });
}

async function start() {
  head();
  controls();
  if ("x" in begin && "y" in begin && begin.w > 0) for (const pane of panes) pane.goTo(begin, true);
  const { start: ends, xy } = await first.tissue();
  for (const pane of panes) pane.tissue(pathsOf(ends, xy));
  await arrange();
  if (begin.id) await selectById(begin.id);
  document.body.dataset.state = "ready";
  window.addEventListener("hashchange", () => location.reload());
  check();
}

/* What is said of the result */

function head() {
  const { slide_id, model } = first.facts;
  document.title = `${slide_id} · wsiproc`;
  find("h1").textContent = slide_id;
  find(".what").textContent = `${count(first.length)} nuclei, found by ${model}`;
  const notes = results.flatMap((result) => result.facts.warnings);
  if (panes[0].trouble) notes.push(panes[0].trouble);
  if (results.length > 1) {
    const [a, b] = results.map((result) => `${result.facts.model}, ${count(result.length)} nuclei`);
    find(".what").textContent = `A: ${a}. B: ${b}.`;
  }
  for (const text of notes) note(text);
}

function note(text, bad = false) {
  find(".notes").append(made("p", { class: bad ? "note bad" : "note" }, text));
}

/** Whether the slide is the one of the result is known once its file was read. */
async function check() {
  if (!facts.slide.tiles) return;
  const { same, error } = await json("check");
  if (error) note(`The slide could not be compared with the result: ${error}`, true);
  else if (same === false) note("This is not the slide that the nuclei were found on.", true);
  else if (same === null) setTimeout(check, 1500);
  document.body.dataset.same = String(same);
}

/* Controls */

function controls() {
  if (results.length > 1) {
    find("#mode").hidden = false;
    choice(find("#mode"), MODES, chosen.mode, (mode) => {
      chosen.mode = mode;
      arrange();
    });
  }
  choice(find("#show"), SHOWN, chosen.show, (show) => {
    chosen.show = show;
    look();
  });
  find("#by").addEventListener("change", (event) => {
    chosen.by = event.target.value;
    repaint();
  });
  find("#more").addEventListener("change", (event) => {
    const name = event.target.value;
    if (name) addRange({ name, low: null, high: null });
    event.target.value = "";
  });
  find("#fill").checked = chosen.fill;
  for (const id of ["fill", "tissue", "slide", "opacity"]) find(`#${id}`).addEventListener("input", look);
  find("#whole").addEventListener("click", () => leader.whole());
  find("#link").addEventListener("click", link);
  find("#to-nucleus").addEventListener("click", () => {
    const { result, row } = chosen.nucleus;
    leader.goTo({ x: result.x[row], y: result.y[row], w: 120 });
  });
  find("#close").addEventListener("click", () => describe(null));
  const kept = chosen.kept;
  chosen.kept = [];
  for (const bounds of kept) addRange(bounds);
  window.addEventListener("keydown", keyed);
  window.addEventListener("keyup", (event) => {
    if (event.key === "h") document.body.classList.remove("bare");
  });
}

function keyed(event) {
  if (event.ctrlKey || event.metaKey || event.target.matches("input[type=text], select")) return;
  if (event.key === "h") document.body.classList.add("bare");
  if (event.key === "f") find("#fill").click();
  if (event.key === "0") leader.whole();
}

function columnsToChoose() {
  const columns = first.facts.columns.map((column) => [column.name, labelled(column)]);
  const plain = [["density", "Nuclei per mm²"], ...(several ? [["class", "Class"]] : [])];
  options(find("#by"), [["", plain], ["Columns", columns]], chosen.by);
  const left = columns.filter(([name]) => !chosen.kept.some((bounds) => bounds.name === name));
  options(find("#more"), [["", [["", "Add a filter…"], ...left]]], "");
}

async function addRange(bounds) {
  chosen.kept.push(bounds);
  columnsToChoose();
  const column = first.facts.columns.find(({ name }) => name === bounds.name);
  const element = range(column, await first.column(bounds.name), bounds, {
    changed: repaint,
    removed: () => {
      element.remove();
      chosen.kept.splice(chosen.kept.indexOf(bounds), 1);
      columnsToChoose();
      repaint();
    },
  });
  find(".ranges").append(element);
  repaint();
}

/* What follows from the choices */

/** Which results are in which pane. */
async function arrange() {
  const side = chosen.mode === "side";
  const differs = chosen.mode === "difference";
  if (panes.length > 1) {
    if (side && panes[1].element.hidden) {
      const { x0, x1, y0, y1 } = panes[0].view;
      panes[1].element.hidden = false;
      await settled();
      const middle = { x: (x0 + x1) / 2, y: (y0 + y1) / 2, w: (x1 - x0) / 2 };
      for (const pane of panes) pane.goTo(middle, true);
    } else if (!side && !panes[1].element.hidden) {
      panes[1].element.hidden = true;
      leader = panes[0];
    }
    const shown = { a: ["A"], b: ["B"], side: ["A", "B"], difference: ["A and B"] }[chosen.mode];
    panes.forEach((pane, i) => {
      const tag = pane.element.querySelector(".tag");
      tag.hidden = shown[i] === undefined;
      tag.textContent = shown[i] ?? "";
    });
  }
  if (differs && !kinds.length) {
    toast("Comparing the two results…", true);
    kinds = await json("difference");
    toast("");
  }
  find("#by").hidden = differs;
  find("#colours label").textContent = differs ? "What became of each" : "Colour by";
  columnsToChoose();
  await repaint();
}

/** OpenSeadragon sees that its element has another size at some later beat. */
async function settled() {
  const sized = ({ element, viewer }) =>
    element.hidden || Math.abs(viewer.viewport.getContainerSize().x - element.clientWidth) < 1;
  while (!panes.every(sized)) await new Promise(requestAnimationFrame);
}

/** Which results a pane shows. */
function shownIn(pane) {
  if (chosen.mode === "difference") return pane === panes[0] ? results : [];
  if (chosen.mode === "side") return [results[panes.indexOf(pane)]];
  return pane === panes[0] ? [results[chosen.mode === "b" ? 1 : 0]] : [];
}

/** Paint all nuclei anew; while that is going on, what is chosen last counts. */
async function repaint() {
  document.body.dataset.still = "false";
  if (painting) {
    paintAgain = true;
    return painting;
  }
  painting = (async () => {
    do {
      paintAgain = false;
      await paintOnce();
    } while (paintAgain);
  })();
  await painting;
  painting = null;
  look();
}

async function paintOnce() {
  const by = chosen.mode === "difference" ? "difference" : chosen.by;
  const coloured = !["class", "density", "difference"].includes(by);
  const scale = coloured ? quantiles(await first.column(by), COLOUR_ENDS) : null;
  const settings = { by, hidden: chosen.hide, hiddenKinds: chosen.hideKinds, kept: chosen.kept, scale, kinds };
  const seen = [...new Set(panes.flatMap(shownIn))];
  const painted = new Map();
  for (const result of seen) painted.set(result, await paint(result, settings));
  for (const pane of panes) {
    pane.show(shownIn(pane).map((result) => ({ result, rgba: painted.get(result).rgba })));
  }
  const shown = [...painted.values()].reduce((sum, one) => sum + one.shown, 0);
  const all = seen.reduce((sum, result) => sum + result.length, 0);
  find("#shown").textContent = `${count(shown)} of ${count(all)}`;
  legend(by, scale);
}

function legend(by, scale) {
  const list = find(".classes");
  const toggle = (hidden) => (number, on) => {
    if (on) hidden.delete(number);
    else hidden.add(number);
    repaint();
  };
  if (by === "difference") {
    const listed = kinds.map((kind) => ({ ...kind, text: count(Math.max(kind.nuclei.a, kind.nuclei.b)) }));
    classList(list, listed, chosen.hideKinds, toggle(chosen.hideKinds));
  } else {
    const of = results[chosen.mode === "b" ? 1 : 0].facts.classes;
    const classes = of.map((one) => ({ ...one, text: count(one.nuclei) }));
    classList(list, several || by === "class" ? classes : [], chosen.hide, toggle(chosen.hide));
  }
  const column = first.facts.columns.find(({ name }) => name === by);
  find(".legend").replaceChildren(...(column ? rampLegend(VALUE_RAMP, scale.map((value) => say(value))) : []));
}

/** What needs no new paint. */
function look() {
  chosen.fill = find("#fill").checked;
  const by = chosen.mode === "difference" ? "difference" : chosen.by;
  for (const pane of panes) {
    pane.options = {
      show: chosen.show,
      fill: chosen.fill,
      tissue: find("#tissue").checked,
      slide: find("#slide").checked,
      opacity: Number(find("#opacity").value),
      mixed: by !== "density",
    };
    pane.selected = chosen.nucleus;
    pane.redraw();
  }
}

/* Moving */

function follow(pane) {
  if (pane !== leader || chosen.mode !== "side") return;
  const { viewport } = pane.viewer;
  for (const other of panes) {
    if (other === pane) continue;
    other.viewer.viewport.zoomTo(viewport.getZoom(true), null, true);
    other.viewer.viewport.panTo(viewport.getCenter(true), true);
  }
}

let counting = 0;

/** After each drawing: scale bar at once, counts when it has come to rest. */
function tell(pane) {
  document.body.dataset.still = "false";
  clearTimeout(counting);
  counting = setTimeout(rest, 180);
  if (pane !== leader) return;
  const { umPerPx } = pane.view;
  const length = round125(120 * umPerPx);
  find(".scale i").style.width = `${length / umPerPx}px`;
  find(".scale output").textContent = length >= 1000 ? `${length / 1000} mm` : `${length} µm`;
  const { density, nuclei, outlines } = pane.stage;
  document.body.dataset.stage = nuclei === 0 ? "density" : outlines ? "outlines" : density ? "both" : "dots";
  document.body.dataset.took = pane.took.toFixed(1);
}

function rest() {
  const still = !painting && panes.every((pane) => pane.finished);
  const { x0, x1, y0, y1 } = leader.view;
  const { width_um, height_um } = facts.slide;
  const across = Math.min(x1, width_um) - Math.max(x0, 0);
  const down = Math.min(y1, height_um) - Math.max(y0, 0);
  const mm2 = (Math.max(0, across) * Math.max(0, down)) / 1e6;
  const inView = panes.filter((one) => !one.element.hidden).flatMap((one) => one.inView());
  const each = (text) => inView.map(({ result, found }) => named(result, text(found))).join(", ");
  find("#in-view").textContent = each(count);
  find("#per-mm2").textContent = mm2 > 0 ? each((found) => count(Math.round(found / mm2))) : "–";
  const top = leader.densest;
  if (chosen.by === "density" && chosen.mode !== "difference") {
    const ends = ["0", `${say(top ?? 0)} per mm²`];
    find(".legend").replaceChildren(...(top ? rampLegend(DENSITY_RAMP, ends) : []));
  }
  remember();
  document.body.dataset.still = String(still);
  for (const pane of panes) if (!pane.finished && !pane.coming) pane.redraw();
}

/** With the result's letter, where two are shown. */
const named = (result, text) =>
  ["side", "difference"].includes(chosen.mode) ? `${text} in ${result === first ? "A" : "B"}` : text;

function point(pane, event) {
  const box = pane.element.getBoundingClientRect();
  const { x, y } = pane.umAt(new OpenSeadragon.Point(event.clientX - box.left, event.clientY - box.top));
  find(".pointer").textContent = `${x.toFixed(0)}, ${y.toFixed(0)} µm`;
}

/* One nucleus */

async function select(pane, um) {
  leader = pane;
  const found = pane.nucleusAt(um);
  await describe(found);
}

async function selectById(text) {
  const [key, id] = text.split(":");
  const result = results.find((one) => one.facts.key === key);
  if (!result || !/^\d+$/.test(id ?? "")) return;
  try {
    await describe({ result, row: await result.find(id) });
  } catch (error) {
    toast(error.message);
  }
}

async function describe(found) {
  chosen.nucleus = found;
  find("#nucleus").hidden = !found;
  look();
  if (!found) return;
  const row = await found.result.row(found.row);
  if (chosen.nucleus !== found) return;
  found.id = `${found.result.facts.key}:${row.nucleus_id}`;
  const entries = rowTable(row, found.result.facts.columns);
  if (results.length > 1) {
    const from = found.result === first ? "A" : "B";
    entries.unshift(made("div", {}, made("dt", {}, "result"), made("dd", {}, from)));
  }
  find("#nucleus dl").replaceChildren(...entries);
  remember();
}

/* Links */

function here() {
  const { x0, x1, y0, y1 } = leader.view;
  return {
    x: (x0 + x1) / 2,
    y: (y0 + y1) / 2,
    w: x1 - x0,
    mode: results.length > 1 ? chosen.mode : undefined,
    by: chosen.by,
    show: chosen.show === "auto" ? undefined : chosen.show,
    hide: [...chosen.hide],
    kept: chosen.kept,
    fill: chosen.fill,
    id: chosen.nucleus?.id,
  };
}

/** The address always leads to what is seen. */
function remember() {
  if (document.body.dataset.state === "ready") history.replaceState(null, "", place.written(here()));
}

async function link() {
  remember();
  const at = location.hash;
  const later = `While this page is served it leads here; later, wsiproc view … --at '${at.slice(1)}' does.`;
  try {
    await navigator.clipboard.writeText(location.href);
    toast(`Copied. ${later}`);
  } catch {
    toast(`${location.href} – ${later}`);
  }
}

let fading = 0;

function toast(text, stays = false) {
  const element = find(".toast");
  element.textContent = text;
  element.hidden = !text;
  clearTimeout(fading);
  if (!stays) fading = setTimeout(() => (element.hidden = true), 8000);
}
