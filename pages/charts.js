const $ = id => document.getElementById(id);
const number = (x, digits = 1) => x == null ? "-" : x.toLocaleString("en-US", { maximumFractionDigits: digits });
const short = x => Math.abs(x) >= 1e6 ? +(x / 1e6).toPrecision(3) + "M" : Math.abs(x) >= 1e4 ? +(x / 1e3).toPrecision(3) + "k" : x && Math.abs(x) < 1e-3 ? x.toExponential(1) : String(+x.toPrecision(3));

function element(kind, words = {}, ...inside) {
  const made = document.createElement(kind);
  for (const [name, value] of Object.entries(words)) name in made ? made[name] = value : made.setAttribute(name, value);
  made.append(...inside);
  return made;
}

// Draws a curve that is as wide as its place. `onpick` receives the x that is clicked, and `move` moves the needle.
function chart(place, title, xs, ys, { height = 140, lines = [], onpick = null, hours = false, axis = true } = {}) {
  const points = [...xs.keys()].filter(i => ys[i] != null && isFinite(ys[i]));
  const box = element("div", {}, element("p", { className: "dim", textContent: title }));
  place.append(box);
  const width = Math.max(240, Math.floor(box.clientWidth || 300));
  if (points.length < 2) { box.append(element("p", { textContent: "Too few values." })); return { box, move() {} }; }
  const least = (f, values) => values.reduce((a, b) => f(a, b));
  let low = least(Math.min, points.map(i => ys[i])), high = least(Math.max, points.map(i => ys[i]));
  for (const line of lines) { low = Math.min(low, line.score); high = Math.max(high, line.score); }
  if (low == high) { low -= 1; high += 1; }
  const x0 = xs[points[0]], x1 = xs[points[points.length - 1]], left = 54, bottom = 18, top = 6;
  const X = x => left + (x - x0) / (x1 - x0 || 1) * (width - left - 6), Y = y => top + (high - y) / (high - low) * (height - top - bottom);
  const part = (kind, words, text) => { const made = document.createElementNS("http://www.w3.org/2000/svg", kind); for (const [n, v] of Object.entries(words)) made.setAttribute(n, v); if (text) made.textContent = text; return made; };
  const svg = part("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  for (const y of [low, (low + high) / 2, high]) svg.append(part("line", { class: "grid", x1: left, x2: width - 6, y1: Y(y), y2: Y(y) }), part("text", { x: left - 5, y: Y(y) + 4, "text-anchor": "end" }, short(y)));
  if (axis) for (const [x, anchor] of [[x0, "start"], [(x0 + x1) / 2, "middle"], [x1, "end"]]) svg.append(part("text", { x: X(x), y: height - 4, "text-anchor": anchor }, hours ? short(x / 3600) + " h" : short(x)));
  for (const line of lines) svg.append(part("line", { class: "reference", x1: left, x2: width - 6, y1: Y(line.score), y2: Y(line.score) }), part("text", { x: width - 8, y: Y(line.score) - 3, "text-anchor": "end" }, line.name));
  svg.append(part("path", { class: "line", d: points.map((i, n) => (n ? "L" : "M") + X(xs[i]).toFixed(1) + " " + Y(ys[i]).toFixed(1)).join("") }));
  const needle = part("line", { class: "needle", x1: left, x2: left, y1: top, y2: height - bottom, visibility: onpick ? "visible" : "hidden" });
  svg.append(needle); box.append(svg);
  if (onpick) svg.onclick = event => { const r = svg.getBoundingClientRect(); onpick(x0 + ((event.clientX - r.left) / r.width * width - left) / (width - left - 6) * (x1 - x0)); };
  return { box, move(x) { needle.setAttribute("x1", X(x)); needle.setAttribute("x2", X(x)); } };
}
