/** Nuclei on a canvas by WebGL2: as dots from their centroids, or as outlines.
 *
 * Positions stay in µm on the graphics card, and the paint of all rows is one texture: moving the
 * window or changing colours and filters sends no geometry.
 */

import { clipEars } from "./triangles.js";

const PAINT_WIDTH = 4096;
const FILL = 0.35;

const COMMON = `#version 300 es
precision highp float;
precision highp int;
uniform vec2 origin;      // µm, of the window's corner, on the grid of outlines
uniform vec2 shift;       // px, what that grid left
uniform float scale;      // px per µm
uniform vec2 size;        // px
uniform highp sampler2D paint;
vec2 px(vec2 um) { return (um - origin) * scale + shift; }
vec4 clip(vec2 at) { return vec4(at / size * vec2(2.0, -2.0) + vec2(-1.0, 1.0), 0.0, 1.0); }
vec4 painted(int row) { return texelFetch(paint, ivec2(row & ${PAINT_WIDTH - 1}, row >> 12), 0); }
const vec4 nowhere = vec4(2.0, 2.0, 2.0, 1.0);
`;

const DOTS = [
  `${COMMON}
in float x;
in float y;
uniform float dot;
flat out vec3 colour;
void main() {
  vec4 own = painted(gl_VertexID);
  colour = own.rgb;
  gl_PointSize = dot + 1.0;
  gl_Position = own.a == 0.0 ? nowhere : clip(px(vec2(x, y)));
}`,
  `#version 300 es
precision highp float;
uniform float dot;
flat in vec3 colour;
out vec4 ink;
void main() {
  float from = length(gl_PointCoord - 0.5) * (dot + 1.0);
  float alpha = clamp(dot / 2.0 + 0.5 - from, 0.0, 1.0);
  ink = vec4(colour, 1.0) * alpha;
}`,
];

// An instance is an edge from one vertex to the next; where the next is another nucleus' it is none.
const EDGES = [
  `${COMMON}
in vec2 a;
in vec2 b;
in uint row;
in uint next;
uniform float half_width;
flat out vec3 colour;
out float away;
void main() {
  vec4 own = painted(int(row));
  colour = own.rgb;
  vec2 from = px(a), to = px(b);
  float along = float(gl_VertexID & 1), side = float(gl_VertexID >> 1) * 2.0 - 1.0;
  vec2 way = to == from ? vec2(1.0, 0.0) : normalize(to - from);
  away = side * (half_width + 1.0);
  vec2 at = mix(from, to, along) + way * (along - 0.5) * half_width + vec2(-way.y, way.x) * away;
  gl_Position = own.a == 0.0 || row != next ? nowhere : clip(at);
}`,
  `#version 300 es
precision highp float;
uniform float half_width;
flat in vec3 colour;
in float away;
out vec4 ink;
void main() { ink = vec4(colour, 1.0) * clamp(half_width + 0.5 - abs(away), 0.0, 1.0); }`,
];

const FILLS = [
  `${COMMON}
in vec2 a;
in uint row;
flat out vec3 colour;
void main() {
  vec4 own = painted(int(row));
  colour = own.rgb;
  gl_Position = own.a == 0.0 ? nowhere : clip(px(a));
}`,
  `#version 300 es
precision highp float;
flat in vec3 colour;
out vec4 ink;
void main() { ink = vec4(colour, 1.0) * ${FILL}; }`,
];

export class Drawing {
  #gl;
  #programs;

  /** Throws where the browser has no WebGL2. */
  constructor(canvas) {
    const gl = canvas.getContext("webgl2", { antialias: false, depth: false });
    if (!gl) throw new Error("this browser has no WebGL2");
    this.#gl = gl;
    this.#programs = {
      dots: program(gl, DOTS, ["x", "y"]),
      edges: program(gl, EDGES, ["a", "b", "row", "next"]),
      fills: program(gl, FILLS, ["a", "row"]),
    };
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  /** What is kept on the graphics card of a result. */
  layer(result) {
    const gl = this.#gl;
    const vao = gl.createVertexArray();
    gl.bindVertexArray(vao);
    for (const [place, values] of [result.x, result.y].entries()) {
      gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, 1, gl.FLOAT, false, 0, 0);
    }
    const height = Math.max(1, Math.ceil(result.length / PAINT_WIDTH));
    const paint = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, paint);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA8, PAINT_WIDTH, height);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    return { result, vao, paint, height, outlines: new Map() };
  }

  paint(layer, rgba) {
    const gl = this.#gl;
    const padded = new Uint8Array(4 * PAINT_WIDTH * layer.height);
    padded.set(new Uint8Array(rgba.buffer));
    gl.bindTexture(gl.TEXTURE_2D, layer.paint);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, PAINT_WIDTH, layer.height, gl.RGBA, gl.UNSIGNED_BYTE, padded);
  }

  /** Clear, and say where the window lies: its corner in µm, px per µm, its size in px. */
  begin({ left, top, scale, width, height }) {
    const gl = this.#gl;
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    const origin = [left, top].map((um) => Math.round(um * 16) / 16);
    const shift = [(origin[0] - left) * scale, (origin[1] - top) * scale];
    for (const { program: made, at } of Object.values(this.#programs)) {
      gl.useProgram(made);
      gl.uniform2fv(at("origin"), origin);
      gl.uniform2fv(at("shift"), shift);
      gl.uniform1f(at("scale"), scale);
      gl.uniform2f(at("size"), width, height);
    }
  }

  dots(layer, chunks, diameter) {
    const gl = this.#gl;
    const { program: made, at } = this.#programs.dots;
    gl.useProgram(made);
    gl.uniform1f(at("dot"), diameter);
    gl.bindTexture(gl.TEXTURE_2D, layer.paint);
    gl.bindVertexArray(layer.vao);
    for (const { first, rows } of chunks) gl.drawArrays(gl.POINTS, first, rows);
  }

  outlines(layer, many, lineWidth, fill) {
    const gl = this.#gl;
    gl.bindTexture(gl.TEXTURE_2D, layer.paint);
    const kept = many.map((outlines) => this.#sent(layer, outlines));
    if (fill) {
      gl.useProgram(this.#programs.fills.program);
      for (const sent of kept) {
        this.#triangulated(sent);
        gl.bindVertexArray(sent.fillVao);
        gl.drawElements(gl.TRIANGLES, sent.triangles, gl.UNSIGNED_INT, 0);
      }
    }
    const { program: made, at } = this.#programs.edges;
    gl.useProgram(made);
    gl.uniform1f(at("half_width"), lineWidth / 2);
    for (const sent of kept) {
      gl.bindVertexArray(sent.vao);
      gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, sent.vertices - 1);
    }
  }

  forget(layer, number) {
    const sent = layer.outlines.get(number);
    if (!sent) return;
    for (const kept of sent.buffers) this.#gl.deleteBuffer(kept);
    this.#gl.deleteVertexArray(sent.vao);
    if (sent.fillVao) this.#gl.deleteVertexArray(sent.fillVao);
    layer.outlines.delete(number);
  }

  /** Outlines as closed rings one after the other, with the row of each vertex. */
  #sent(layer, { number, first, start, xy }) {
    const known = layer.outlines.get(number);
    if (known) return known;
    const gl = this.#gl;
    const rings = start.length - 1;
    const vertices = xy.length / 2 + rings;
    const closed = new Float32Array(2 * vertices);
    const row = new Uint32Array(vertices);
    for (let i = 0; i < rings; i += 1) {
      const to = start[i] + i;
      const n = start[i + 1] - start[i];
      closed.set(xy.subarray(2 * start[i], 2 * start[i + 1]), 2 * to);
      closed.set(xy.subarray(2 * start[i], 2 * start[i] + 2), 2 * (to + n));
      row.fill(first + i, to, to + n + 1);
    }
    const [places, rows] = [gl.createBuffer(), gl.createBuffer()];
    const vao = gl.createVertexArray();
    gl.bindVertexArray(vao);
    gl.bindBuffer(gl.ARRAY_BUFFER, places);
    gl.bufferData(gl.ARRAY_BUFFER, closed, gl.STATIC_DRAW);
    gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 8, 0);
    gl.vertexAttribPointer(1, 2, gl.FLOAT, false, 8, 8);
    gl.bindBuffer(gl.ARRAY_BUFFER, rows);
    gl.bufferData(gl.ARRAY_BUFFER, row, gl.STATIC_DRAW);
    gl.vertexAttribIPointer(2, 1, gl.UNSIGNED_INT, 4, 0);
    gl.vertexAttribIPointer(3, 1, gl.UNSIGNED_INT, 4, 4);
    for (const place of [0, 1, 2, 3]) {
      gl.enableVertexAttribArray(place);
      gl.vertexAttribDivisor(place, 1);
    }
    const sent = { vao, vertices, start, closed, buffers: [places, rows] };
    layer.outlines.set(number, sent);
    return sent;
  }

  #triangulated(sent) {
    if (sent.fillVao) return;
    const gl = this.#gl;
    const corners = [];
    for (let i = 0; i + 1 < sent.start.length; i += 1) {
      clipEars(sent.closed, sent.start[i] + i, sent.start[i + 1] + i, corners);
    }
    sent.triangles = corners.length;
    sent.fillVao = gl.createVertexArray();
    gl.bindVertexArray(sent.fillVao);
    gl.bindBuffer(gl.ARRAY_BUFFER, sent.buffers[0]);
    gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 8, 0);
    gl.bindBuffer(gl.ARRAY_BUFFER, sent.buffers[1]);
    gl.vertexAttribIPointer(1, 1, gl.UNSIGNED_INT, 4, 0);
    gl.enableVertexAttribArray(0);
    gl.enableVertexAttribArray(1);
    const index = gl.createBuffer();
    sent.buffers.push(index);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, index);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, new Uint32Array(corners), gl.STATIC_DRAW);
  }
}

function program(gl, [vertex, fragment], attributes) {
  const made = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  attributes.forEach((name, place) => gl.bindAttribLocation(made, place, name));
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS)) {
    const shaders = gl.getAttachedShaders(made).map((shader) => gl.getShaderInfoLog(shader));
    throw new Error(`a shader does not work here: ${gl.getProgramInfoLog(made)} ${shaders.join(" ")}`);
  }
  const places = new Map();
  const at = (name) => {
    if (!places.has(name)) places.set(name, gl.getUniformLocation(made, name));
    return places.get(name);
  };
  return { program: made, at };
}
