// Line charts, drawn here: `chart({title, help, series: [{name, colour, x, y}], marks, percent, whole, wide})` gives a card.
// y may hold nulls (a gap). marks: [{name, colour, x, y, low, high}] are evaluations with their intervals.
function ticks(low, high, about) {
  const rough = (high - low) / about, unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * unit).find((s) => s >= rough);
  const out = [];
  for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-6; v += step) out.push(Math.abs(v) < step * 1e-6 ? 0 : v);
  return out;
}

function shortly(v) {
  const size = Math.abs(v);
  if (size !== 0 && (size < 0.001 || size >= 1e6)) return v.toExponential(1).replace("e+", "e");
  return size >= 1e4 ? Math.round(v / 1000) + "k" : String(+v.toPrecision(3));
}

// A mean over neighbours on both sides, so that it neither lags nor shifts; short runs are shown as they are.
function smoothed(y) {
  const half = Math.min(8, Math.floor(y.length / 12));
  if (half < 1) return y;
  return y.map((v, i) => {
    const near = y.slice(Math.max(0, i - half), i + half + 1).filter((w) => w !== null);
    return v === null ? null : near.reduce((a, b) => a + b, 0) / near.length;
  });
}

function chart(spec) {
  const hidden = new Set(), box = svg("svg", { role: "img" }), legend = el("div", { class: "legend" });
  const card = el("div", { class: "card chart" + (spec.wide ? " wide" : "") }, el("h3", {}, spec.title), el("p", {}, spec.help || "\u00a0"), box, legend);
  const show = (v) => (v === null || v === undefined ? "–" : spec.percent ? +(100 * v).toPrecision(v < 0.1 ? 2 : 3) + " %" : shortly(v));
  const colour = (s) => `var(--c${s.colour % 8})`;
  const smooth = new Map(spec.series.map((s) => [s, smoothed(s.y)]));
  const values = [];

  for (const s of spec.series) {
    const value = el("b", {});
    values.push([s, value]);
    const entry = el("button", { title: "show or hide", onclick: () => { hidden.has(s.name) ? hidden.delete(s.name) : hidden.add(s.name); entry.classList.toggle("off"); draw(); } },
      el("i", { style: "background:" + colour(s) }), s.name, value);
    legend.append(entry);
  }
  function label(x) {
    for (const [s, node] of values) {
      let i = x === null ? s.y.length - 1 : 0;
      if (x === null) while (i > 0 && s.y[i] === null) i--;
      else s.x.forEach((at, j) => { if (Math.abs(at - x) < Math.abs(s.x[i] - x)) i = j; });
      node.textContent = show(s.y[i]);
    }
  }
  function draw() {
    const width = box.clientWidth || 420, height = 200, left = 44, right = 10, top = 10, bottom = 24;
    box.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const live = spec.series.filter((s) => !hidden.has(s.name)), marks = (spec.marks || []).filter((m) => !hidden.has(m.name));
    const xs = [...live.flatMap((s) => [s.x[0], s.x[s.x.length - 1]]), ...marks.map((m) => m.x)];
    const ys = [...live.flatMap((s) => s.y.filter((v) => v !== null)), ...marks.flatMap((m) => [m.low, m.high])];
    if (!ys.length) { box.replaceChildren(); return; }
    let [x0, x1] = [Math.min(...xs), Math.max(...xs)], [y0, y1] = spec.whole ? [0, 1] : [Math.min(...ys), Math.max(...ys)];
    if (x1 === x0) { x0 -= 1; x1 += 1; }
    if (y1 - y0 < 1e-12) { const d = Math.abs(y0) * 0.1; y0 -= d; y1 += d || 1; }
    if (!spec.whole) { const d = 0.06 * (y1 - y0); y0 = y0 >= 0 && y0 < 0.4 * y1 ? 0 : y0 - d; y1 = spec.percent ? Math.min(1, y1 + d) : y1 + d; }
    const px = (x) => left + (width - left - right) * (x - x0) / (x1 - x0), py = (y) => top + (height - top - bottom) * (1 - (y - y0) / (y1 - y0));
    const parts = [];
    for (const v of ticks(y0, y1, 4)) parts.push(svg("path", { d: `M${left} ${py(v)}H${width - right}`, class: "grid" }), svg("text", { x: left - 6, y: py(v) + 4, "text-anchor": "end" }, show(v)));
    for (const v of ticks(x0, x1, Math.max(2, width / 90)).filter(Number.isInteger)) parts.push(svg("text", { x: px(v), y: height - 6, "text-anchor": "middle" }, shortly(v)));
    const path = (s, y) => { let pen = "M"; return y.map((v, i) => { if (v === null) { pen = "M"; return ""; } const at = `${pen}${px(s.x[i]).toFixed(1)} ${py(v).toFixed(1)}`; pen = "L"; return at; }).join(""); };
    for (const s of live) {
      const line = smooth.get(s), few = s.y.filter((v) => v !== null).length < 4;
      if (line !== s.y) parts.push(svg("path", { d: path(s, s.y), class: "raw", stroke: colour(s) }));
      parts.push(svg("path", { d: path(s, line), class: "smooth", stroke: colour(s) }));
      if (few) s.y.forEach((v, i) => v !== null && parts.push(svg("circle", { cx: px(s.x[i]), cy: py(v), r: 3, fill: colour(s) })));
    }
    for (const m of marks) parts.push(
      svg("path", { d: `M${px(m.x)} ${py(m.low)}V${py(m.high)}`, stroke: colour(m), "stroke-width": 1.5 }),
      svg("circle", { cx: px(m.x), cy: py(m.y), r: 4, fill: "var(--card)", stroke: colour(m), "stroke-width": 2 }, svg("title", {}, `${m.name}: ${show(m.y)} (${show(m.low)} to ${show(m.high)})`)));
    const cross = svg("path", { class: "cross" });
    box.replaceChildren(...parts, cross);
    box.onpointermove = (event) => {
      const at = x0 + (x1 - x0) * (event.offsetX - left) / (width - left - right), all = live.flatMap((s) => s.x);
      const x = all.reduce((a, b) => (Math.abs(b - at) < Math.abs(a - at) ? b : a), all[0]);
      if (x === undefined) return;
      cross.setAttribute("d", `M${px(x)} ${top}V${height - bottom}`);
      card.querySelector("p").textContent = `step ${x}`;
      label(x);
    };
    box.onpointerleave = () => { cross.removeAttribute("d"); card.querySelector("p").textContent = spec.help || "\u00a0"; label(null); };
  }
  label(null);
  new ResizeObserver(draw).observe(box);
  return card;
}
