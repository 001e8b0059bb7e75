/** Numbers and columns in words that people read. */

/** Three digits that count, with thousands apart. */
export function say(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 100 || value === 0) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(3)));
}

export const count = (value) => value.toLocaleString("en");

/** `area_um2` is "area": its unit is said apart. */
export function titled(name) {
  return name.replace(/_(um2|um|px|rad)$/, "").replaceAll("_", " ");
}

export function unitOf(column) {
  return column.unit && column.unit !== "1" ? column.unit : "";
}

export function labelled(column) {
  const unit = unitOf(column);
  return unit ? `${titled(column.name)} (${unit})` : titled(column.name);
}

/** The largest of 1, 2, 5 times a power of ten that is at most `longest`. */
export function round125(longest) {
  const power = 10 ** Math.floor(Math.log10(longest));
  return Math.max(...[1, 2, 5].map((m) => m * power).filter((m) => m <= longest * (1 + 1e-9)));
}
