/** Colours: of numbers, and of how many nuclei there are. */

/** From few nuclei to many, even in lightness, from paper to ink: that of overview.png. */
const DENSITY = [[255, 250, 222], [254, 209, 120], [246, 132, 74], [205, 52, 92], [116, 22, 112], [44, 8, 66]];

/** From low to high, none of them near haematoxylin or eosin. */
const VALUES = [[70, 110, 255], [0, 172, 255], [0, 214, 180], [150, 230, 90], [255, 230, 60]];

/** Of a nucleus where nothing colours it. */
export const PLAIN = [0, 190, 130];

function ramp(stops) {
  const table = new Uint8Array(256 * 3);
  for (let i = 0; i < 256; i += 1) {
    const place = (i / 255) * (stops.length - 1);
    const k = Math.min(Math.floor(place), stops.length - 2);
    for (let c = 0; c < 3; c += 1) {
      table[3 * i + c] = Math.round(stops[k][c] + (place - k) * (stops[k + 1][c] - stops[k][c]));
    }
  }
  return table;
}

/** 256 colours, three bytes each. */
export const DENSITY_RAMP = ramp(DENSITY);
export const VALUE_RAMP = ramp(VALUES);

/** As one uint32 of an RGBA image: the first byte is red on every machine that runs a browser. */
export const packed = (r, g, b, a = 255) => ((a << 24) | (b << 16) | (g << 8) | r) >>> 0;

export const css = ([r, g, b]) => `rgb(${r}, ${g}, ${b})`;

export function cssRamp(table) {
  const stops = [];
  for (let i = 0; i < 256; i += 15) stops.push(css(table.slice(3 * i, 3 * i + 3)));
  return `linear-gradient(to right, ${stops.join(", ")})`;
}
