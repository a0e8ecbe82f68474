"use strict";
/* The page of a traffic map. Reads the JSON block #data that gentraffic/webmap.py writes; asks nothing of any network.
   Text of the data reaches the page through textContent only. State is in the address: #step=42&cell=17&play=1 */

const D = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const N = D.cells, T = D.steps, O = D.outlines;
const WORD = D.kind === "stations" ? "Station" : "Cell";
const NIGHT = matchMedia("(prefers-color-scheme: dark)");
const NONE = () => (NIGHT.matches ? "#2c333d" : "#dfe3e6"), NONE_EDGE = () => (NIGHT.matches ? "#5b6472" : "#a4abb4");

/* ---- numbers: q = round(levels * asinh(v / s) / asinh(top / s)); 0 is exactly no traffic ---- */
const SPAN = Math.asinh(D.scale.top / D.scale.s);
const decode = (q) => D.scale.s * Math.sinh((q / D.levels) * SPAN);
const rank = (v) => Math.asinh(v / D.scale.s);
const share = (v) => Math.min(1, Math.max(0, (rank(v) - rank(D.scale.low)) / (rank(D.scale.high) - rank(D.scale.low) || 1)));

async function unpack(text) {
  const raw = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
function unshuffle(bytes, width) {           // planes of low to high bytes -> whole numbers
  const n = bytes.length / width;
  const out = width === 2 ? new Uint16Array(n) : new Int32Array(n);
  for (let plane = 0; plane < width; plane++)
    for (let i = 0, at = plane * n; i < n; i++) out[i] |= bytes[at + i] << (8 * plane);
  return out;
}

/* ---- words ---- */
const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const two = (n) => String(n).padStart(2, "0");
function offsetAt(step) {                    // minutes east of UTC, from a run-length list [first step, minutes]
  let minutes = D.offsets[0][1];
  for (const [first, value] of D.offsets) if (first <= step) minutes = value;
  return minutes;
}
const localTimes = Array.from({ length: T }, (_, i) => new Date((D.start + i * D.every + offsetAt(i) * 60) * 1000));
const dayText = (d) => `${DAYS[d.getUTCDay()]} ${d.getUTCDate()} ${MONTHS[d.getUTCMonth()]}`;
const clock = (d) => `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}`;
function whenText(step) {
  const d = localTimes[step], m = offsetAt(step);
  const zone = `UTC${m < 0 ? "−" : "+"}${Math.floor(Math.abs(m) / 60)}${m % 60 ? ":" + two(Math.abs(m) % 60) : ""}`;
  // Of a usual week no date is meant: its days have names alone.
  return D.usual ? `${DAYS[d.getUTCDay()]}, ${clock(d)} (${zone})` : `${dayText(d)} ${d.getUTCFullYear()}, ${clock(d)} (${zone})`;
}
function number(v) {
  if (v === 0) return "0";
  if (v >= 1e15 || v < 1e-4) return v.toExponential(2);
  if (v >= 1000) return Number(v.toPrecision(4)).toLocaleString("en-GB");
  return String(Number(v.toPrecision(3)));
}
const withUnits = (v) => (D.units ? `${number(v)} ${D.units}` : number(v));

/* ---- colours: shade 0 is "none", 1 to 255 run along a ramp; on a dark screen more traffic is brighter ---- */
const hexRgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
function colourAt(ramp, t) {
  const at = t * (ramp.length - 1), i = Math.min(ramp.length - 2, Math.floor(at)), f = at - i;
  return `rgb(${ramp[i].map((c, k) => Math.round(c + f * (ramp[i + 1][k] - c))).join(",")})`;
}
function paint(layer) {                      // the colours of a layer for the present screen
  const hexes = layer.flip && NIGHT.matches ? [...layer.ramp].reverse() : layer.ramp;
  const ramp = hexes.map(hexRgb);
  layer.colours = Array.from({ length: 256 }, (_, i) => (i ? colourAt(ramp, (i - 1) / 254) : NONE()));
}
const PLAYED = { name: "time", title: "Hour by hour", label: D.label, kind: "amount", ramp: D.colours, flip: true, none: D.none };
const LAYERS = [PLAYED, ...D.layers];
const MEASURED = new Map(D.measured), GIVEN = "#0a7d5a";
const howMeasured = (c) => !MEASURED.has(c) ? "" : MEASURED.get(c) ? "measured" : "measured in part, drawn in its gaps";
const BUCKET = new Uint8Array(D.levels + 1);
for (let q = 1; q <= D.levels; q++) BUCKET[q] = 1 + Math.round(254 * share(decode(q)));

function playedTicks() {                     // [place on the ramp, words]
  const ticks = [], kept = [];
  for (let power = -12; power <= 15; power++)
    for (const digit of [1, 2, 5]) {
      const v = digit * 10 ** power;
      if (v >= D.scale.low * 0.999 && v <= D.scale.high * 1.001) ticks.push(v);
    }
  if (!ticks.length && D.scale.high > 0) ticks.push(D.scale.low, D.scale.high);
  let last = -1;
  for (const v of ticks) {
    const t = share(v);
    if (t - last < 0.17 || t > 0.97 || t < 0.02) continue;
    last = t;
    kept.push([t, number(v)]);
  }
  return kept;
}
function drawLegend() {
  const shown = S.layer, colours = Array.from({ length: 17 }, (_, i) => shown.colours[1 + Math.round((254 * i) / 16)]);
  $("legend-title").textContent = shown.label;
  $("ramp").style.background = `linear-gradient(to right, ${colours.join(",")})`;
  $("ticks").replaceChildren(...shown.ticks.map(([t, words]) => {
    const mark = document.createElement("span");
    mark.textContent = words;
    mark.style.left = `${100 * t}%`;
    mark.style.transform = `translateX(${t > 0.94 ? -100 : t < 0.06 ? 0 : -50}%)`;
    return mark;
  }));
  $("none").textContent = shown.none;
  $("none-row").hidden = !shown.none;
  showWater();
  $("none-row").querySelector("i").style.background = NONE();
}

/* ---- the layer of cells: one canvas, filled colour by colour ---- */
const WORLD = 256;
const worldX = (lon) => WORLD * (lon / 360 + 0.5);
const worldY = (lat) => WORLD * (0.5 - Math.log(Math.tan(Math.PI / 4 + (lat * Math.PI) / 360)) / (2 * Math.PI));

const CanvasLayer = L.Layer.extend({         // a canvas over the view; project() and draw() are its own
  initialize(shape, pane) { this.shape = shape; this.pane = pane; },
  onAdd(map) {
    this.canvas = L.DomUtil.create("canvas", "leaflet-zoom-animated", map.getPane(this.pane));
    this.reset();
  },
  onRemove() { this.canvas.remove(); },
  getEvents() {
    return { viewreset: this.reset, moveend: this.reset, resize: this.reset, zoomanim: this.animate };
  },
  animate(event) {
    const scale = this._map.getZoomScale(event.zoom, this.zoom);
    L.DomUtil.setTransform(this.canvas, this._map._latLngToNewLayerPoint(this.corner, event.zoom, event.center), scale);
  },
  reset() {                                  // a quarter of the view beyond each edge, so that a drag shows no gap
    const map = this._map, size = map.getSize(), pad = size.multiplyBy(0.25).round(), ratio = window.devicePixelRatio || 1;
    const corner = map.containerPointToLayerPoint([-pad.x, -pad.y]);
    this.zoom = map.getZoom();
    this.corner = map.layerPointToLatLng(corner);
    this.width = size.x + 2 * pad.x;
    this.height = size.y + 2 * pad.y;
    this.canvas.width = this.width * ratio;
    this.canvas.height = this.height * ratio;
    this.canvas.style.width = `${this.width}px`;
    this.canvas.style.height = `${this.height}px`;
    L.DomUtil.setTransform(this.canvas, corner, 1);
    L.DomUtil.setPosition(this.canvas, corner);
    this.ratio = ratio;
    const scale = 2 ** this.zoom, origin = map.getPixelOrigin().add(corner);
    const { x, y } = this.shape;
    this.px = new Float32Array(x.length);
    this.py = new Float32Array(x.length);
    for (let i = 0; i < x.length; i++) { this.px[i] = x[i] * scale - origin.x; this.py[i] = y[i] * scale - origin.y; }
    this.project(scale, origin);
    this.draw();
  },
  project() {},
  clear() {
    const context = this.canvas.getContext("2d");
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    return context;
  },
});

const CellLayer = CanvasLayer.extend({
  project() {
    const { cellStart, pointStart } = this.shape, px = this.px, py = this.py;
    this.seen = new Uint8Array(N);
    for (let c = 0; c < N; c++) {
      const from = pointStart[cellStart[c]], to = pointStart[cellStart[c + 1]];
      let left = Infinity, right = -Infinity, top = Infinity, bottom = -Infinity;
      for (let i = from; i < to; i++) {
        const sx = px[i], sy = py[i];
        if (sx < left) left = sx;
        if (sx > right) right = sx;
        if (sy < top) top = sy;
        if (sy > bottom) bottom = sy;
      }
      this.seen[c] = right > -20 && left < this.width + 20 && bottom > -20 && top < this.height + 20;
    }
  },
  trace(context, c, radius) {
    const { cellStart, pointStart } = this.shape, px = this.px, py = this.py;
    if (O.shapes === "points") {
      const i = pointStart[cellStart[c]];
      context.moveTo(px[i] + radius, py[i]);
      context.arc(px[i], py[i], radius, 0, 2 * Math.PI);
      return;
    }
    for (let r = cellStart[c]; r < cellStart[c + 1]; r++) {
      const from = pointStart[r], to = pointStart[r + 1];
      context.moveTo(px[from], py[from]);
      for (let i = from + 1; i < to; i++) context.lineTo(px[i], py[i]);
      context.closePath();
    }
  },
  radius(bucket) {                           // stations: area grows with the traffic
    const room = Math.max(0.8, Math.min(1.8, (this.zoom - this.shape.fitZoom) * 0.25 + 1));
    return room * Math.sqrt(5 + 45 * (bucket / 255));
  },
  draw() {
    const context = this.clear(), points = O.shapes === "points", sheer = S.streets && !points;
    this.canvas.style.opacity = sheer ? 0.86 : 1;
    const count = new Uint32Array(257), order = new Uint32Array(N);
    const colours = S.layer.colours, edge = NONE_EDGE();
    for (let c = 0; c < N; c++) if (this.seen[c]) count[shadeOf(c) + 1]++;
    for (let b = 0; b < 256; b++) count[b + 1] += count[b];
    const next = count.slice();
    for (let c = 0; c < N; c++) if (this.seen[c]) order[next[shadeOf(c)]++] = c;
    context.lineWidth = 0.7;
    context.lineJoin = "round";
    for (let b = 0; b < 256; b++) {
      if (count[b] === count[b + 1]) continue;
      context.beginPath();
      for (let k = count[b]; k < count[b + 1]; k++) this.trace(context, order[k], this.radius(b));
      context.globalAlpha = sheer && !b ? 0.25 : 1;          // what lies beneath shows where nothing is counted
      context.fillStyle = colours[b];
      context.fill();
      context.strokeStyle = !points ? colours[b] : b ? "rgba(255,255,255,0.85)" : edge;
      if (!sheer || b) context.stroke();     // of polygons: closes the seams between neighbours
    }
    context.globalAlpha = 1;
    if (MEASURED.size) {                     // which of a place that was drawn around them
      context.beginPath();
      for (const c of MEASURED.keys()) if (this.seen[c]) this.trace(context, c, this.radius(shadeOf(c)) + 1);
      context.strokeStyle = "#fff";
      context.lineWidth = 3.4;
      context.stroke();
      context.strokeStyle = GIVEN;
      context.lineWidth = 1.8;
      context.stroke();
    }
    if (S.cell >= 0) {
      context.beginPath();
      this.trace(context, S.cell, this.radius(shadeOf(S.cell)) + 1.5);
      context.strokeStyle = "#fff";
      context.lineWidth = 4.5;
      context.stroke();
      context.strokeStyle = "#0b63ce";
      context.lineWidth = 2.2;
      context.stroke();
    }
  },
  find(point) {                              // the cell at a point of the container, -1 for none
    const at = this._map.containerPointToLayerPoint(point).subtract(L.DomUtil.getPosition(this.canvas));
    const { cellStart, pointStart } = this.shape, px = this.px, py = this.py;
    let best = -1, reach = 14 ** 2;
    for (let c = 0; c < N; c++) {
      if (!this.seen[c]) continue;
      if (O.shapes === "points") {
        const i = pointStart[cellStart[c]], d = (px[i] - at.x) ** 2 + (py[i] - at.y) ** 2;
        if (d < reach) { reach = d; best = c; }
        continue;
      }
      let inside = false;
      for (let r = cellStart[c]; r < cellStart[c + 1]; r++) {
        const from = pointStart[r], to = pointStart[r + 1];
        for (let i = from, j = to - 1; i < to; j = i++)
          if (py[i] > at.y !== py[j] > at.y && at.x < ((px[j] - px[i]) * (at.y - py[i])) / (py[j] - py[i]) + px[i])
            inside = !inside;
      }
      if (inside) return c;
    }
    return best;
  },
});

/* ---- the map beneath: areas under the cells, lines and names over them ---- */
const BASE = {                               // class -> fill, or [ink, its width in pixels, from how many metres a pixel]
  light: { sea: "#cfe0ec", water: "#b5d3e7", park: "#d5e6cd", ink: "34,42,56", halo: "255,255,255", rail: "90,70,60", blue: "40,100,150", wash: "rgba(150,190,222,0.62)" },
  dark: { sea: "#16324a", water: "#1d4465", park: "#22382b", ink: "226,232,240", halo: "12,16,22", rail: "200,180,160", blue: "110,170,220", wash: "rgba(38,82,122,0.66)" },
};
const WATERS = new Set(["sea", "water"]);    // a wash over the cells, whose colours stay to be seen; the legend says so
const LINES = {                              // colour, width, opacity, shown below so many metres a pixel
  waterway: ["blue", 1.4, 0.7, 200], street: ["ink", 0.8, 0.34, 14], main: ["ink", 1.3, 0.5, 70],
  motorway: ["ink", 2.3, 0.62, 600], rail: ["rail", 1.2, 0.6, 120], coast: ["blue", 1.5, 0.95, 1000],
};
const SIZES = { city: [15, 700, 1e4], town: [13, 650, 160], suburb: [12, 600, 45], village: [12, 500, 60], neighbourhood: [11, 500, 11] };

const BaseLayer = CanvasLayer.extend({
  trace(context, first, last, closed, more = false) {      // more: of the path that is there
    const { start } = this.shape, px = this.px, py = this.py;
    if (!more) context.beginPath();
    for (let s = first; s < last; s++) {
      context.moveTo(px[start[s]], py[start[s]]);
      for (let i = start[s] + 1; i < start[s + 1]; i++) context.lineTo(px[i], py[i]);
      if (closed) context.closePath();
    }
  },
});
const AreaLayer = BaseLayer.extend({
  draw() {
    const context = this.clear(), look = NIGHT.matches ? BASE.dark : BASE.light;
    for (const [name, first, last] of this.shape.classes) {
      if (LINES[name]) continue;
      this.trace(context, first, last, true);
      context.fillStyle = look[name];
      context.fill();
    }
  },
});
const LineLayer = BaseLayer.extend({
  draw() {
    const context = this.clear(), look = NIGHT.matches ? BASE.dark : BASE.light;
    const middle = this._map.getCenter(), metres = (40075017 * Math.cos((middle.lat * Math.PI) / 180)) / (256 * 2 ** this.zoom);
    const grow = Math.min(2, Math.max(0.6, (12 / metres) ** 0.35));
    context.lineCap = context.lineJoin = "round";
    context.beginPath();                     // sea and water as one: where they lie on each other, it is no darker
    if (O.shapes !== "points") for (const [name, first, last] of this.shape.classes) if (WATERS.has(name)) this.trace(context, first, last, true, true);
    context.fillStyle = look.wash;
    context.fill();
    for (const [name, first, last] of this.shape.classes) {
      if (!LINES[name]) continue;
      const [colour, width, opacity, from] = LINES[name];
      if (metres > from) continue;
      this.trace(context, first, last, false);
      if (name !== "waterway") {      // light beside dark: seen on pale cells and on full ones
        context.lineWidth = width * grow + 1.4;
        context.strokeStyle = `rgba(${look.halo},${0.35 + 0.4 * opacity})`;
        context.stroke();
      }
      context.lineWidth = width * grow;
      context.strokeStyle = `rgba(${look[colour]},${opacity})`;
      if (name === "rail" && metres < 20) context.setLineDash([6, 3]);
      context.stroke();
      context.setLineDash([]);
    }
    this.names(context, look, metres);
  },
  names(context, look, metres) {             // the largest first; one that would lie on another is left out
    const taken = [], family = getComputedStyle(document.body).fontFamily;
    context.textAlign = "center";
    context.textBaseline = "middle";
    const { x, y } = this.shape, at = x.length - D.base.names.length;
    D.base.names.forEach(([text, kind], k) => {
      const [size, weight, from] = SIZES[kind], there = this.px[at + k], top = this.py[at + k];
      if (metres > from || there < 0 || top < 0 || there > this.width || top > this.height) return;
      context.font = `${weight} ${size}px ${family}`;
      const half = context.measureText(text).width / 2 + 4, tall = size * 0.75;
      const edge = this.width / 6, seen = there >= edge && there <= this.width - edge;     // the canvas is half as wide again
      const left = seen ? Math.min(Math.max(there, edge + half), this.width - edge - half) : there;
      const box = [left - half, top - tall, left + half, top + tall];
      if (taken.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1])) return;
      taken.push(box);
      context.lineWidth = 3.5;
      context.strokeStyle = `rgba(${look.halo},0.86)`;
      context.strokeText(text, left, top);
      context.fillStyle = `rgb(${look.ink})`;
      context.fillText(text, left, top);
    });
  },
});
async function unpackBase() {                // shapes class by class, and the names as further points
  const sizes = unshuffle(await unpack(D.base.sizes), 4), steps = unshuffle(await unpack(D.base.points), 4);
  const n = steps.length / 2, names = D.base.names, total = n + names.length;
  const x = new Float64Array(total), y = new Float64Array(total), start = new Uint32Array(sizes.length + 1);
  let [lon, lat] = D.base.origin;
  for (let i = 0; i < n; i++) {
    lon += steps[i];
    lat += steps[n + i];
    x[i] = worldX(lon * 1e-5);
    y[i] = worldY(lat * 1e-5);
  }
  names.forEach(([, , east, north], k) => { x[n + k] = worldX(east); y[n + k] = worldY(north); });
  sizes.forEach((size, s) => { start[s + 1] = start[s] + size; });
  let first = 0;
  const classes = D.base.classes.map(([name, count]) => [name, first, (first += count)]);
  return { x, y, start, classes };
}

/* ---- charts ---- */
const SVG = "http://www.w3.org/2000/svg";
function node(parent, tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}
function niceTop(v) {
  if (!(v > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(v));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((m) => m * power >= v * 1.02) * power || 10 * power;
}
function dayTicks(width) {                   // midnights, labelled as densely as the width allows
  const starts = [];
  for (let i = 0; i < T; i++)
    if (i === 0 || localTimes[i].getUTCDate() !== localTimes[i - 1].getUTCDate()) starts.push(i);
  const every = [1, 2, 7, 14, 28, 56, 112, 364].find((n) => (width / Math.max(1, starts.length)) * n > 38) || 364;
  return starts.map((step, i) => ({ step, labelled: i % every === 0 }));
}
function chart(svg, series) {
  const box = svg.getBoundingClientRect(), w = Math.max(120, box.width), h = Math.max(80, box.height);
  const left = 50, right = 8, top = 10, bottom = 22, inner = w - left - right;
  svg.setAttribute("viewBox", `0 0 ${w} ${h}`);
  svg.replaceChildren();
  const peak = niceTop(Math.max(...[series.mean, series.high].filter(Boolean).map((a) => a.reduce((m, v) => Math.max(m, v), 0))));
  const X = (i) => left + (inner * (i + 0.5)) / T, Y = (v) => top + (h - top - bottom) * (1 - v / peak);
  for (const f of [0, 0.5, 1]) {
    node(svg, "line", { class: "grid", x1: left, x2: w - right, y1: Y(f * peak), y2: Y(f * peak) });
    node(svg, "text", { x: left - 6, y: Y(f * peak) + 4, "text-anchor": "end" }, number(f * peak));
  }
  for (const { step, labelled } of dayTicks(inner)) {
    const x = left + (inner * step) / T;
    if (step) node(svg, "line", { class: "day", x1: x, x2: x, y1: top, y2: h - bottom });
    if (labelled && x < w - 30) {
      const d = localTimes[step];
      const text = T * D.every > 12 * 86400 ? `${d.getUTCDate()} ${MONTHS[d.getUTCMonth()]}` : D.usual ? DAYS[d.getUTCDay()] : `${DAYS[d.getUTCDay()]} ${d.getUTCDate()}`;
      node(svg, "text", { x: x + 3, y: h - 7 }, text);
    }
  }
  const points = (a) => Array.from(a, (v, i) => `${X(i).toFixed(1)},${Y(v).toFixed(1)}`);
  if (series.low)
    node(svg, "polygon", { class: "band", points: points(series.high).concat(points(series.low).reverse()).join(" ") });
  node(svg, "polyline", { class: "line", points: points(series.mean).join(" ") });
  svg.mark = node(svg, "line", { class: "cursor", y1: top, y2: h - bottom });
  svg.dot = node(svg, "circle", { class: "dot", r: 4 });
  svg.place = (step) => {
    svg.mark.setAttribute("x1", X(step));
    svg.mark.setAttribute("x2", X(step));
    svg.dot.setAttribute("cx", X(step));
    svg.dot.setAttribute("cy", Y(series.mean[step]));
  };
  svg.stepAt = (clientX) => {
    const r = svg.getBoundingClientRect();
    return Math.min(T - 1, Math.max(0, Math.floor(((clientX - r.left - left) / inner) * T)));
  };
  svg.place(S.step);
}

/* ---- state and its pictures ---- */
const S = { step: D.first, cell: -1, playing: false, values: null, low: null, high: null, layer: PLAYED, streets: !!D.base };
const shadeOf = (c) => (S.layer === PLAYED ? BUCKET[S.values[c * T + S.step]] : S.layer.shade[c]);
function layerText(c) {                      // what the layer that is shown says of a cell
  if (S.layer === PLAYED) return withUnits(valueAt(c, S.step));
  const v = S.layer.values[c], none = S.layer.shade[c] === 0 ? S.layer.none : "";
  if (S.layer.kind === "hour") return `${two(v)}:00 to ${two((v + 1) % 24)}:00${none && `, ${none}`}`;
  if (none) return none;
  if (S.layer.kind === "ratio") return `× ${number(v)} between low and high end`;
  if (S.layer.kind === "difference") return `${v > 0 ? "+" : "−"}${withUnits(Math.abs(v))}`;
  return withUnits(v);
}
function setLayer(name) {
  const shown = LAYERS.find((one) => one.name === name) || PLAYED;
  if (shown !== PLAYED) setPlaying(false);
  S.layer = shown;
  $("layer").value = shown.name;
  drawLegend();
  showStep();
  remember();
}
let layer = null, map = null, beneath = [];
function showWater() {                       // the legend says what the wash is, where the map has any
  const look = NIGHT.matches ? BASE.dark : BASE.light, wet = D.base && D.base.classes.some(([name]) => WATERS.has(name));
  $("water-row").hidden = !(wet && S.streets);
  $("water-row").querySelector("i").style.background = look.water;
  $("measured-row").hidden = !MEASURED.size;
  $("measured-row").querySelector("i").style.border = `2px solid ${GIVEN}`;
  $("water").textContent = O.shapes === "points" ? "water" : "water, over the colours of the cells";
}
function setStreets(on) {
  if (!D.base || on === S.streets) return;
  S.streets = on;
  $("streets").checked = on;
  for (const one of beneath) if (on) one.addTo(map); else one.remove();
  layer.draw();
  showWater();
  remember();
}

function cellSeries(c) {
  const mean = S.values.subarray(c * T, (c + 1) * T);
  const edge = (blob) => blob && Float64Array.from(mean, (q, i) => {   // 8 bits, as differences to the mean modulo 256
    const e = ((q >> D.bandBits) + blob[c * T + i]) & 255;
    return decode(e && (e + 0.5) * 2 ** D.bandBits);
  });
  return { mean: Float64Array.from(mean, (q) => decode(q)), low: edge(S.low), high: edge(S.high) };
}
const valueAt = (c, step) => decode(S.values[c * T + step]);

function showStep() {
  $("when").textContent = whenText(S.step);
  $("slider").value = S.step;
  $("slider").setAttribute("aria-valuetext", whenText(S.step));
  $("total-now").textContent = withUnits(D.total.mean[S.step]);
  $("cell-now").textContent = S.cell < 0 ? "" : layerText(S.cell);
  for (const id of ["total-chart", "cell-chart"]) if ($(id).place) $(id).place(S.step);
  layer.draw();
}
function showCell() {
  const chosen = S.cell >= 0;
  $("cell-hint").hidden = chosen;
  $("cell-facts").hidden = !chosen;
  $("cell-chart").style.display = chosen ? "" : "none";
  $("cell-name").textContent = chosen ? `${WORD} ${D.ids[S.cell]}` : `One ${WORD.toLowerCase()}`;
  if (!chosen) return;
  const series = cellSeries(S.cell);
  chart($("cell-chart"), series);
  const mean = series.mean.reduce((a, b) => a + b, 0) / T;
  const peak = series.mean.indexOf(Math.max(...series.mean));
  const lat = D.lat[S.cell], lon = D.lon[S.cell];
  const place = `${Math.abs(lat).toFixed(4)}° ${lat < 0 ? "S" : "N"}, ${Math.abs(lon).toFixed(4)}° ${lon < 0 ? "W" : "E"}`;
  $("cell-facts").textContent =
    `Mean ${withUnits(mean)}; busiest ${dayText(localTimes[peak])}, ${clock(localTimes[peak])}. ${place}.` +
    (D.band ? ` Band: ${D.band}.` : "") + (MEASURED.size ? ` ${WORD}: ${howMeasured(S.cell) || "drawn"}.` : "");
}
let waiting = 0;
function remember() {                        // the address keeps the state, at most twice a second
  if (waiting) return;
  waiting = setTimeout(() => {
    const parts = [`step=${S.step}`];
    if (S.cell >= 0) parts.push(`cell=${encodeURIComponent(D.ids[S.cell])}`);
    if (S.layer !== PLAYED) parts.push(`layer=${S.layer.name}`);
    if (D.base && !S.streets) parts.push("streets=0");
    if (S.playing) parts.push("play=1");
    waiting = 0;
    try { history.replaceState(null, "", "#" + parts.join("&")); } catch { /* some browsers refuse it for files */ }
  }, 500);
}
function setStep(step) { S.step = Math.min(T - 1, Math.max(0, step | 0)); showStep(); remember(); }
function setCell(c) { S.cell = c; showCell(); showStep(); remember(); }
function setPlaying(on) {
  if (on === S.playing) return;
  S.playing = on;
  if (on && S.layer !== PLAYED) setLayer("time");
  $("play").setAttribute("aria-pressed", on);
  $("play").querySelector("span").textContent = on ? "Pause" : "Play";
  $("play").querySelector("path").setAttribute("d", on ? "M3.5 2.5h3.2v11H3.5zM9.3 2.5h3.2v11H9.3z" : "M4 2.5v11l9-5.5z");
  let last = performance.now(), due = 0;
  const tick = (now) => {
    if (!S.playing) return;
    due += ((now - last) / 1000) * Number($("speed").value);
    last = now;
    const whole = Math.floor(due);
    if (whole > 0) { due -= whole; setStep((S.step + Math.min(whole, 24)) % T); }
    requestAnimationFrame(tick);
  };
  if (on) requestAnimationFrame(tick);
  remember();
}
function cellNamed(text) { return D.ids.findIndex((id) => String(id) === text); }
function search(text) {                      // [cell or -1, answer]: by its id, a part of it, or "lat, lon"
  const exact = cellNamed(text);
  if (exact >= 0) return [exact, ""];
  if (!text) return [-1, `Type the id of a ${WORD.toLowerCase()}, or latitude, longitude.`];
  const point = /^(-?\d+(?:\.\d+)?)\s*[,; ]\s*(-?\d+(?:\.\d+)?)$/.exec(text);
  if (point) {
    const lat = Number(point[1]), lon = Number(point[2]), narrow = Math.cos((lat * Math.PI) / 180);
    let best = 0, least = Infinity;
    for (let c = 0; c < N; c++) {
      const d = (D.lat[c] - lat) ** 2 + ((D.lon[c] - lon) * narrow) ** 2;
      if (d < least) { least = d; best = c; }
    }
    const far = 111.2 * Math.sqrt(least), away = far < 1 ? `${Math.round(far * 1000)} m` : `${number(far)} km`;
    if (Math.abs(lat) <= 90 && Math.abs(lon) <= 360 && far < 50) return [best, `The nearest: ${WORD.toLowerCase()} ${D.ids[best]}, ${away} away.`];
    return [-1, `No ${WORD.toLowerCase()} within 50 km of ${text}.`];
  }
  const low = text.toLowerCase(), alike = [];
  for (let c = 0; c < N && alike.length < 6; c++) if (String(D.ids[c]).toLowerCase().includes(low)) alike.push(c);
  if (alike.length === 1) return [alike[0], `The only id with “${text}” in it: ${D.ids[alike[0]]}.`];
  const names = alike.slice(0, 5).map((c) => D.ids[c]).join(", ");
  const none = `There is no ${WORD.toLowerCase()} “${text}” among ${N.toLocaleString("en-GB")}.`;
  return [-1, alike.length ? `${none} Ids that hold it: ${names}${alike.length > 5 ? ", …" : ""}` : `${none} Ids look like ${D.ids[0]}.`];
}
function readAddress() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const cell = asked.has("cell") ? cellNamed(asked.get("cell")) : -1;
  const step = asked.has("step") ? Number(asked.get("step")) : S.step;
  if (cell !== S.cell) { S.cell = cell; showCell(); }
  if (Number.isInteger(step) && step >= 0 && step < T) S.step = step;
  const named = asked.get("layer") || "time";
  if (named !== S.layer.name) setLayer(named); else showStep();
  setStreets(asked.get("streets") !== "0");
  setPlaying(asked.get("play") === "1");
}

function neighbour(c, dx, dy) {              // the nearest cell that lies more in this direction than beside it
  const narrow = Math.cos((D.lat[c] * Math.PI) / 180);
  let best = -1, least = Infinity;
  for (let i = 0; i < N; i++) {
    const east = (D.lon[i] - D.lon[c]) * narrow, north = D.lat[i] - D.lat[c];
    const along = east * dx + north * dy, beside = Math.abs(east * dy) + Math.abs(north * dx);
    if (i === c || along <= 0 || beside > along) continue;
    const d = along + 2 * beside;
    if (d < least) { least = d; best = i; }
  }
  return best;
}
function mapKey(event) {                     // Enter: the cell in the middle; Shift and an arrow: the next one there
  const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
  let c = -1;
  if (event.target !== map.getContainer() || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Enter" || (way && event.shiftKey && S.cell < 0)) {
    const middle = map.getCenter(), narrow = Math.cos((middle.lat * Math.PI) / 180);
    let least = Infinity;
    for (let i = 0; i < N; i++) {
      const d = (D.lat[i] - middle.lat) ** 2 + ((D.lon[i] - middle.lng) * narrow) ** 2;
      if (d < least) { least = d; c = i; }
    }
  } else if (way && event.shiftKey) c = neighbour(S.cell, ...way);
  else return;
  event.preventDefault();
  event.stopPropagation();
  if (c < 0) { $("find-answer").textContent = `There is no ${WORD.toLowerCase()} further that way.`; return; }
  go(c);
  $("find-answer").textContent = `${WORD} ${D.ids[c]}: ${layerText(c)}.`;
}

function go(c) { setCell(c); map.panInside([D.lat[c], D.lon[c]], { padding: [60, 60] }); }

function tip(event, c) {
  const box = $("tip");
  box.hidden = c < 0;
  if (c < 0) return;
  const name = document.createElement("b"), value = document.createElement("span"), when = document.createElement("span");
  name.textContent = `${WORD} ${D.ids[c]}`;
  value.textContent = layerText(c) + (MEASURED.has(c) ? `, ${howMeasured(c)}` : "");
  when.textContent = S.layer === PLAYED ? `${dayText(localTimes[S.step])}, ${clock(localTimes[S.step])}` : S.layer.title;
  box.replaceChildren(name, value, when);
  const size = map.getSize(), p = event.containerPoint;
  box.style.left = `${Math.max(4, Math.min(p.x + 14, size.x - box.offsetWidth - 4))}px`;
  box.style.top = `${Math.max(4, Math.min(p.y + 14, size.y - box.offsetHeight - 4))}px`;
}

function credit() {                          // addresses become links that are followed only on a click
  const text = D.credit, line = $("credit");
  let from = 0;
  for (const found of text.matchAll(/https?:\/\/[^\s,;()<>"]+|OpenStreetMap/g)) {
    line.append(text.slice(from, found.index));
    const link = document.createElement("a");
    link.href = found[0] === "OpenStreetMap" ? "https://www.openstreetmap.org/copyright" : found[0];
    link.rel = "noreferrer noopener";
    link.textContent = found[0];
    line.append(link);
    from = found.index + found[0].length;
  }
  line.append(text.slice(from));
}

async function start() {
  PLAYED.ticks = playedTicks();
  for (const one of LAYERS) {
    paint(one);
    const option = document.createElement("option");
    option.value = one.name;
    option.textContent = one.title;
    $("layer").append(option);
  }
  drawLegend();
  credit();
  $("subtitle").textContent = D.subtitle;
  $("find-label").textContent = WORD;
  $("cell-hint").textContent = `Click a ${WORD.toLowerCase()} on the map to see its series.`;
  $("warnings").textContent = D.warnings;
  $("warnings").hidden = !D.warnings;
  $("slider").max = T - 1;
  if (typeof DecompressionStream === "undefined") throw new Error("this map needs a browser of 2023 or later");
  S.values = unshuffle(await unpack(D.blobs.values), 2);
  for (const one of D.layers) {
    one.shade = await unpack(one.shade);
    one.values = new Float32Array((await unpack(one.values)).buffer);
  }
  if (D.blobs.low) { S.low = await unpack(D.blobs.low); S.high = await unpack(D.blobs.high); }
  const points = unshuffle(await unpack(O.points), 4), n = points.length / 2;
  const x = new Float64Array(n), y = new Float64Array(n);
  const lonAt = new Float64Array(n), latAt = new Float64Array(n);
  for (let i = 0, lon = 0, lat = 0; i < n; i++) {   // differences of 1e-6 degrees from the south-west corner
    lonAt[i] = O.origin[0] + 1e-6 * (lon += points[i]);
    latAt[i] = O.origin[1] + 1e-6 * (lat += points[n + i]);
    x[i] = worldX(lonAt[i]);
    y[i] = worldY(latAt[i]);
  }
  const sums = (sizes) => sizes.reduce((all, size) => { all.push(all[all.length - 1] + size); return all; }, [0]);
  const expand = (runs) => runs.flatMap(([size, times]) => Array(times).fill(size));
  const shape = { x, y, cellStart: sums(expand(O.ringsPerCell)), pointStart: sums(expand(O.pointsPerRing)), fitZoom: 0 };
  const first = (c) => shape.pointStart[shape.cellStart[c]], end = (c) => shape.pointStart[shape.cellStart[c + 1]];
  const middle = (a, c) => { const part = a.subarray(first(c), end(c)); return (Math.min(...part) + Math.max(...part)) / 2; };
  D.lon = Array.from({ length: N }, (_, c) => ((middle(lonAt, c) + 540) % 360) - 180);
  D.lat = Array.from({ length: N }, (_, c) => middle(latAt, c));

  const low = (a) => a.reduce((m, v) => Math.min(m, v), Infinity), high = (a) => a.reduce((m, v) => Math.max(m, v), -Infinity);
  const bounds = L.latLngBounds([low(latAt), low(lonAt)], [high(latAt), high(lonAt)]);
  map = L.map("map", { attributionControl: false, zoomSnap: 0.25, zoomDelta: 0.5, maxZoom: 20, minZoom: 1, boxZoom: false });
  map.fitBounds(bounds, { padding: [24, 24], maxZoom: 16 });
  shape.fitZoom = map.getZoom();
  L.control.scale({ imperial: false, maxWidth: 140 }).addTo(map);
  if (D.base) {
    const base = await unpackBase();
    for (const [name, above] of [["areas", 300], ["lines", 450]]) {
      map.createPane(name).style.zIndex = above;
      map.getPane(name).style.pointerEvents = "none";
    }
    beneath = [new AreaLayer(base, "areas").addTo(map), new LineLayer(base, "lines").addTo(map)];
    $("streets-row").hidden = false;
    $("streets").addEventListener("change", (event) => setStreets(event.target.checked));
  }
  layer = new CellLayer(shape, "overlayPane").addTo(map);
  const sites = L.svg();                     // above the canvas of the cells
  const many = D.markers.length > 60;        // small and thin, so that the map is seen between them
  for (const [lat, lon, , kind, radius] of D.markers) {
    const colour = kind === "new" ? "#0b63ce" : "#5b6472";
    const ring = (color, weight) => L.circle([lat, lon], { radius, renderer: sites, color, weight, fill: false, interactive: false }).addTo(map);
    if (radius > 0) { ring("#fff", many ? 2 : 4); ring(colour, many ? 1 : 2); }
  }
  for (const [lat, lon, text, kind] of D.markers)
    L.circleMarker([lat, lon], { radius: kind === "new" ? 7 : many ? 3 : 5, renderer: sites, color: "#fff", weight: many ? 1 : 2,
      fillColor: kind === "new" ? "#0b63ce" : "#5b6472", fillOpacity: 1 }).bindTooltip(document.createTextNode(text)).addTo(map);
  for (const kind of ["new", "existing"]) {
    const some = D.markers.filter((marker) => marker[3] === kind), row = $(`sites-${kind}`);
    row.hidden = !some.length;
    const radius = some.length && some[0][4] > 0 ? `, ${number(some[0][4])} m around each` : "";
    row.querySelector("span").textContent = `${some.length} ${kind === "new" ? "new sites" : "sites that stand"}${radius}`;
  }
  chart($("total-chart"), D.total);
  showCell();
  readAddress();
  $("notice").hidden = true;

  map.on("click", (event) => setCell(layer.find(event.containerPoint)));
  map.getContainer().addEventListener("keydown", mapKey, true);
  map.on("mousemove", (event) => tip(event, layer.find(event.containerPoint)));
  map.on("mouseout movestart", () => tip(null, -1));
  $("slider").addEventListener("input", (event) => { setPlaying(false); setLayer("time"); setStep(Number(event.target.value)); });
  $("layer").addEventListener("change", (event) => setLayer(event.target.value));
  NIGHT.addEventListener("change", () => { LAYERS.forEach(paint); drawLegend(); showStep(); if (S.streets) beneath.forEach((one) => one.draw()); });
  $("play").addEventListener("click", () => setPlaying(!S.playing));
  $("find").addEventListener("submit", (event) => {
    event.preventDefault();
    const [c, answer] = search($("find-id").value.trim());
    $("find-answer").textContent = answer;
    if (c >= 0) go(c);
  });
  $("find-id").addEventListener("input", () => { $("find-answer").textContent = ""; });
  let busy = null, nth = 0;
  $("busiest").addEventListener("click", () => {   // pressed again at the same hour: the next in order
    const key = `${S.layer.name} ${S.step}`;
    if (busy === null || busy.key !== key) {
      const of = S.layer === PLAYED || S.layer.kind === "hour" ? (c) => S.values[c * T + S.step] : (c) => S.layer.values[c];
      busy = { key, order: Array.from({ length: N }, (_, c) => c).sort((a, b) => of(b) - of(a)) };
      nth = 0;
    }
    go(busy.order[nth]);
    $("find-answer").textContent = `Number ${nth + 1} of ${N.toLocaleString("en-GB")} in “${S.layer.title.toLowerCase()}”.`;
    nth = (nth + 1) % N;
  });
  for (const id of ["total-chart", "cell-chart"]) {
    const drag = (event) => { if (event.buttons & 1) { setPlaying(false); setLayer("time"); setStep($(id).stepAt(event.clientX)); } };
    $(id).addEventListener("pointerdown", drag);
    $(id).addEventListener("pointermove", drag);
  }
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, button, .leaflet-container") || event.ctrlKey || event.metaKey || event.altKey) return;
    const jump = { ArrowLeft: -1, ArrowRight: 1, PageUp: -24, PageDown: 24 }[event.key];
    if (event.key === " ") { event.preventDefault(); setPlaying(!S.playing); }
    else if (jump) { event.preventDefault(); setLayer("time"); setStep(S.step + jump); }
  });
  window.addEventListener("hashchange", readAddress);
  window.addEventListener("resize", () => { chart($("total-chart"), D.total); showCell(); showStep(); });
  document.body.dataset.ready = "yes";
}
start().catch((error) => { $("notice").hidden = false; $("notice").textContent = `The map cannot be shown: ${error.message}.`; });
