/** Polygons without holes as triangles, by clipping ears (Meisters 1975).
 *
 * Coordinates are multiples of 1/16 µm, so products of their differences are exact.
 */

/** Twice the signed area of a, b, c: above 0 where they turn the way that x turns to y. */
const turn = (xy, a, b, c) =>
  (xy[2 * b] - xy[2 * a]) * (xy[2 * c + 1] - xy[2 * a + 1]) -
  (xy[2 * b + 1] - xy[2 * a + 1]) * (xy[2 * c] - xy[2 * a]);

/** Vertices of the triangles of one ring.
 *
 * `xy` holds x and y of the vertices `first .. stop - 1`, in the order in which x turns to y and
 * not closed; the numbers of three vertices for each triangle are appended to `out`.
 */
export function clipEars(xy, first, stop, out) {
  const ring = [];
  for (let i = first; i < stop; i += 1) ring.push(i);
  let at = 0;
  let since = 0;
  while (ring.length > 3) {
    const n = ring.length;
    const [a, b, c] = [ring[(at + n - 1) % n], ring[at % n], ring[(at + 1) % n]];
    // After a whole round without an ear the ring touches itself: any corner has to do.
    if (since >= n || isEar(xy, ring, a, b, c)) {
      if (turn(xy, a, b, c) !== 0) out.push(a, b, c);
      ring.splice(at % n, 1);
      since = 0;
      at = at % n === ring.length ? 0 : at % n;
    } else {
      at = (at + 1) % n;
      since += 1;
    }
  }
  if (ring.length === 3) out.push(...ring);
}

function isEar(xy, ring, a, b, c) {
  if (turn(xy, a, b, c) <= 0) return false;
  for (const p of ring) {
    if (p === a || p === b || p === c) continue;
    if (turn(xy, a, b, p) >= 0 && turn(xy, b, c, p) >= 0 && turn(xy, c, a, p) >= 0) return false;
  }
  return true;
}

/** Whether a ring of `xy` holds a point: even and odd crossings of a ray. */
export function holds(xy, first, stop, x, y) {
  let inside = false;
  for (let i = first, j = stop - 1; i < stop; j = i, i += 1) {
    const [ax, ay, bx, by] = [xy[2 * i], xy[2 * i + 1], xy[2 * j], xy[2 * j + 1]];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}
