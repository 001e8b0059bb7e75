/** Where one looks and how it is shown, as the part of the address after `#`.
 *
 *   x, y    the middle of the window, µm        w     its width, µm
 *   mode    a, b, side or difference            by    the column that colours
 *   hide    classes left out, by number         kept  column:lowest:highest, again and again
 *   show    auto, density or nuclei             fill  1 to fill outlines
 *   id      the nucleus that is selected, and of which result: a:123
 */

const NUMBERS = ["x", "y", "w"];

export function read(text) {
  const given = new URLSearchParams(text.replace(/^#/, ""));
  const place = { kept: [], hide: [] };
  for (const [key, value] of given) {
    if (NUMBERS.includes(key) && Number.isFinite(Number(value))) place[key] = Number(value);
    else if (key === "hide") place.hide = value.split(",").filter(Boolean).map(Number);
    else if (key === "kept") place.kept.push(range(value));
    else if (["mode", "by", "show", "id"].includes(key)) place[key] = value;
    else if (key === "fill") place.fill = value === "1";
  }
  return place;
}

function range(text) {
  const [name, low, high] = text.split(":");
  const bound = (side) => (side === "" || side === undefined ? null : Number(side));
  return { name, low: bound(low), high: bound(high) };
}

export function written(place) {
  const parts = [];
  for (const key of NUMBERS) if (key in place) parts.push([key, Number(place[key].toFixed(2))]);
  for (const key of ["mode", "by", "show", "id"]) if (place[key]) parts.push([key, place[key]]);
  if (place.hide?.length) parts.push(["hide", place.hide.join(",")]);
  for (const { name, low, high } of place.kept ?? []) {
    parts.push(["kept", `${name}:${low ?? ""}:${high ?? ""}`]);
  }
  if (place.fill) parts.push(["fill", "1"]);
  return `#${parts.map(([key, value]) => `${key}=${spelt(value)}`).join("&")}`;
}

/** For an address, with colons and commas as people type them. */
const spelt = (value) => encodeURIComponent(value).replaceAll("%3A", ":").replaceAll("%2C", ",");
