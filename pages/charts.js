const $ = id => document.getElementById(id);
const COLUMN_PX = 3, NAME_PX = 13;  // of a column of many values; of a line of text
const number = (x, digits = 1) => x == null ? "-" : x.toLocaleString("en-US", { maximumFractionDigits: digits });
const short = (x, digits = 3) => Math.abs(x) >= 1e6 ? +(x / 1e6).toPrecision(digits) + "M" : Math.abs(x) >= 1e4 ? +(x / 1e3).toPrecision(digits) + "k" : x && Math.abs(x) < 1e-3 ? x.toExponential(1) : String(+x.toPrecision(digits));

function element(kind, words = {}, ...inside) {
  const made = document.createElement(kind);
  for (const [name, value] of Object.entries(words)) name in made ? made[name] = value : made.setAttribute(name, value);
  made.append(...inside);
  return made;
}

// One value for each column of pixels where there are many more values: their mean, least and most.
function gatherColumns(points, xs, ys, X) {
  const columns = new Map(), last = Math.floor(X(xs[points[points.length - 1]]) / COLUMN_PX) - 1;  // not a column of one value
  for (const i of points) {
    const at = Math.min(last, Math.floor(X(xs[i]) / COLUMN_PX)), column = columns.get(at) || { x: 0, sum: 0, count: 0, low: Infinity, high: -Infinity };
    column.x += X(xs[i]); column.sum += ys[i]; column.count++; column.low = Math.min(column.low, ys[i]); column.high = Math.max(column.high, ys[i]);
    columns.set(at, column);
  }
  return [...columns.values()].map(({ x, sum, count, low, high }) => ({ x: x / count, y: sum / count, low, high }));
}
// Places the names of lines above them, at the right, or where another name is there at the left, or below that one.
function placeNames(lines, Y, left, right) {
  const taken = { end: -Infinity, start: -Infinity };
  return [...lines].sort((a, b) => b.score - a.score).map(line => {
    let y = Y(line.score) - 5, side = y - taken.end >= NAME_PX ? "end" : y - taken.start >= NAME_PX && 12 * line.name.length < right - left ? "start" : "end";
    y = Math.max(y, taken[side] + NAME_PX); taken[side] = y;
    return { name: line.name, y, side, x: side == "end" ? right - 2 : left + 4 };
  });
}
// The evaluations of a run as dots of its score, over agent steps or seconds of training.
const dotsOver = ({ evaluations = [] }, axis) => evaluations.map(one => ({ x: one[axis], mean: one.mean, low: one.low, high: one.high }));
// Draws a curve that is as wide as its place, and `dots` with their intervals: x, mean, low, high. `onpick` receives the x that is clicked, and `move` moves the needle.
function chart(place, title, xs, ys, { height = 140, lines = [], onpick = null, hours = false, axis = true, dots = [] } = {}) {
  const points = [...xs.keys()].filter(i => ys[i] != null && isFinite(ys[i]));
  const box = element("div", {}, element("p", { className: "dim", textContent: title }));
  place.append(box);
  const width = Math.max(240, Math.floor(box.clientWidth || 300));
  if (points.length < 2) { box.append(element("p", { textContent: "Too few values." })); return { box, move() {} }; }
  const least = (f, values) => values.reduce((a, b) => f(a, b));
  let low = least(Math.min, points.map(i => ys[i])), high = least(Math.max, points.map(i => ys[i]));
  for (const line of lines) { low = Math.min(low, line.score); high = Math.max(high, line.score); }
  for (const dot of dots) { low = Math.min(low, dot.low ?? dot.mean); high = Math.max(high, dot.high ?? dot.mean); }
  if (low == high) { low -= 1; high += 1; }
  const shown = [xs[points[0]], xs[points[points.length - 1]], ...dots.map(dot => dot.x).filter(Number.isFinite)];
  const x0 = Math.min(...shown), x1 = Math.max(...shown), left = 54, bottom = 18, top = lines.length ? 22 : 6;
  const X = x => left + (x - x0) / (x1 - x0 || 1) * (width - left - 6), Y = y => top + (high - y) / (high - low) * (height - top - bottom);
  const part = (kind, words, text) => { const made = document.createElementNS("http://www.w3.org/2000/svg", kind); for (const [n, v] of Object.entries(words)) made.setAttribute(n, v); if (text) made.textContent = text; return made; };
  const svg = part("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  const marks = [low, (low + high) / 2, high].map(y => Math.abs(y) < (high - low) / 1000 ? 0 : y);
  const digits = [3, 4, 5].find(n => new Set(marks.map(y => short(y, n))).size == 3);
  for (const y of marks) svg.append(part("line", { class: "grid", x1: left, x2: width - 6, y1: Y(y), y2: Y(y) }), part("text", { x: left - 5, y: Y(y) + 4, "text-anchor": "end" }, short(y, digits)));
  if (axis) for (const [x, anchor] of [[x0, "start"], [(x0 + x1) / 2, "middle"], [x1, "end"]]) svg.append(part("text", { x: X(x), y: height - 4, "text-anchor": anchor }, hours ? short(x / 3600) + " h" : short(x)));
  for (const line of lines) svg.append(part("line", { class: "reference", x1: left, x2: width - 6, y1: Y(line.score), y2: Y(line.score) }));
  const path = (places, first = "M") => places.map(([x, y], n) => (n ? "L" : first) + x.toFixed(1) + " " + Y(y).toFixed(1)).join("");
  let places = points.map(i => [X(xs[i]), ys[i]]);
  if (points.length > width) {
    const columns = gatherColumns(points, xs, ys, X);
    places = columns.map(({ x, y }) => [x, y]);
    svg.append(part("path", { class: "range", d: path(columns.map(({ x, low }) => [x, low])) + path(columns.map(({ x, high }) => [x, high]).reverse(), "L") + "Z" }));
  }
  svg.append(part("path", { class: "line", d: path(places) }));
  for (const { x, mean, low, high } of dots) {
    if (low != null) svg.append(part("line", { class: "whisker", x1: X(x), x2: X(x), y1: Y(low), y2: Y(high) }));
    svg.append(part("circle", { class: "dot", cx: X(x), cy: Y(mean), r: 3 }));
  }
  for (const { name, x, y, side } of placeNames(lines, Y, left, width - 6)) svg.append(part("text", { class: "name", x, y, "text-anchor": side }, name));
  const needle = part("line", { class: "needle", x1: left, x2: left, y1: top, y2: height - bottom, visibility: onpick ? "visible" : "hidden" });
  svg.append(needle); box.append(svg);
  if (onpick) svg.onclick = event => { const r = svg.getBoundingClientRect(); onpick(x0 + ((event.clientX - r.left) / r.width * width - left) / (width - left - 6) * (x1 - x0)); };
  return { box, move(x) { needle.setAttribute("x1", X(x)); needle.setAttribute("x2", X(x)); } };
}
