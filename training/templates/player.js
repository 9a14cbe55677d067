// One episode: `player(episode, frames)` gives {node, show(i), count}. Slide i is decision i; the last one is the end.
function player(episode, frames) {
  const slides = episode.slides, count = slides.length + 1;
  const cameras = [...new Set([...slides.flatMap((s) => Object.keys(s.frames)), ...Object.keys(episode.end)])];
  const bodily = slides.some((s) => s.motion);
  let at = 0, timer = null;

  const views = cameras.map((camera) => {
    const image = el("img", { alt: camera + " camera", draggable: "false" });
    const overlay = svg("svg", { class: "overlay", "aria-hidden": "true" });
    const node = el("figure", {}, el("div", { class: "screen" }, image, overlay),
      cameras.length > 1 ? el("figcaption", {}, camera) : null);
    return { camera, image, overlay, node };
  });
  const typed = el("div", { class: "typed" });
  const stage = el("div", { class: "stage" + (cameras.length > 1 ? " several" : "") },
    views.map((v) => v.node), bodily ? null : typed);

  const scrub = el("input", { type: "range", min: 0, max: count - 1, value: 0, "aria-label": "step",
    oninput: () => { pause(); show(+scrub.value); } });
  const playing = el("button", { class: "go", title: "play or pause", onclick: () => (timer ? pause() : play()) }, "▶");
  const place = el("span", { class: "place" });
  const controls = el("div", { class: "controls" },
    el("button", { title: "first step", onclick: () => { pause(); show(0); } }, "«"),
    el("button", { title: "step back", onclick: () => { pause(); show(at - 1); } }, "‹"),
    playing,
    el("button", { title: "step on", onclick: () => { pause(); show(at + 1); } }, "›"),
    scrub, place);
  const cells = slides.map((s, i) => {
    const gain = Object.values(s.terms).reduce((a, b) => a + (b || 0), 0);
    const kind = !s.valid ? "bad" : gain > 1e-6 ? "up" : gain < -1e-6 ? "down" : "";
    return el("button", { class: "cell " + kind, title: `step ${i + 1}: progress ${Math.round(100 * s.progress)} %`,
      onclick: () => { pause(); show(i); } }, el("i", { style: `height:${6 + 94 * s.progress}%` }));
  });
  const track = el("div", { class: "track", title: "progress after each step" }, cells);

  const story = el("div", { class: "story" });
  const node = el("section", { class: "player", tabindex: "0", onkeydown: keys },
    el("div", { class: "split" },
      el("div", { class: "left" }, stage, controls, track),
      el("div", { class: "right" },
        el("header", {}, el("span", { class: "badge " + episode.outcome }, words(episode.outcome)),
          el("code", {}, episode.task), el("small", {}, `seed ${episode.seed}, ${episode.split}`)),
        el("p", { class: "instruction" }, episode.instruction), story)));

  function keys(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.target === scrub || (!move && event.key !== " ")) return;
    if (event.key === " " && event.target !== node) return;
    event.preventDefault();
    if (move) { pause(); show(at + move); } else if (timer) pause(); else play();
  }
  function play() {
    if (at === count - 1) show(0);
    playing.textContent = "❚❚";
    timer = setInterval(() => (at < count - 1 ? show(at + 1) : pause()), bodily ? 700 : 1100);
  }
  function pause() {
    clearInterval(timer);
    timer = null;
    playing.textContent = "▶";
  }
  function show(i) {
    at = Math.max(0, Math.min(count - 1, i));
    const slide = slides[at], seen = slide ? slide.frames : episode.end;
    for (const v of views) {
      const key = seen[v.camera], frame = frames[key];
      v.node.classList.toggle("gone", !frame);
      if (!frame) continue;
      v.image.src = frame.uri;
      v.image.classList.toggle("fine", frame.w > 500);
      v.node.style.setProperty("--most", Math.max(1, Math.floor(420 / Math.max(frame.w, frame.h))) * frame.w + "px");
      v.overlay.setAttribute("viewBox", `0 0 ${frame.w} ${frame.h}`);
      v.overlay.replaceChildren(...(slide ? slide.marks.filter((m) => m.camera === v.camera).flatMap((m) => drawn(m, frame)) : []));
    }
    const labels = slide ? slide.marks.map((m) => m.label).filter(Boolean) : [];
    typed.replaceChildren(...labels.map((t) => el("kbd", {}, t)));
    scrub.value = at;
    place.textContent = slide ? `${at + 1} / ${slides.length}` : "end";
    cells.forEach((c, j) => c.classList.toggle("at", j === at));
    story.replaceChildren(...told(episode, slide, at));
  }
  show(0);
  return { node, show, count };
}

// A screen action on the frame, in the frame's pixels; a white rim under each line, so that it shows on any theme.
function drawn(mark, frame) {
  const u = Math.max(1, Math.max(frame.w, frame.h) / 200), x = mark.x + 0.5, y = mark.y + 0.5, shapes = [];
  const both = (tag, attributes) => shapes.push(
    svg(tag, { ...attributes, class: "rim", "stroke-width": 2 * u }), svg(tag, { ...attributes, class: "line", "stroke-width": u }));
  const arrow = (x2, y2, x1 = x, y1 = y) => {
    const length = Math.hypot(x2 - x1, y2 - y1) || 1, ux = (x2 - x1) / length, uy = (y2 - y1) / length, h = 4 * u;
    both("path", { d: `M${x1} ${y1}L${x2} ${y2}M${x2 - h * (ux - uy / 2)} ${y2 - h * (uy + ux / 2)}L${x2} ${y2}L${x2 - h * (ux + uy / 2)} ${y2 - h * (uy - ux / 2)}` });
  };
  if (["click", "double", "right"].includes(mark.shape)) {
    both("circle", { cx: x, cy: y, r: 5 * u });
    both("path", { d: `M${x} ${y}h0` });
    if (mark.shape === "double") both("circle", { cx: x, cy: y, r: 8 * u });
    if (mark.shape === "right") both("path", { d: `M${x + 3 * u} ${y - 3 * u}l${4 * u} ${-4 * u}` });
  } else if (mark.shape === "move") {
    if (Math.hypot(mark.x2 - mark.x, mark.y2 - mark.y) > 1.5 * u) arrow(mark.x2, mark.y2, mark.x, mark.y);
  } else if (mark.shape === "drag") arrow(mark.x2 + 0.5, mark.y2 + 0.5);
  else if (mark.shape === "scroll") arrow(x, y + 16 * u * Math.sign(mark.y2 - mark.y));
  return shapes;
}

// What the hand was asked to do: an arrow in the table's plane (x right, y up, 15 cm full length), a bar for z, the jaws.
function dial(motion) {
  const share = (v) => Math.max(-1, Math.min(1, v / 0.15));
  const x = 50 + 40 * share(motion.x), y = 50 - 40 * share(motion.y);
  const length = Math.hypot(x - 50, y - 50), ux = (x - 50) / (length || 1), uy = (y - 50) / (length || 1);
  const head = length > 4 ? `M${x - 8 * (ux - uy / 2)} ${y - 8 * (uy + ux / 2)}L${x} ${y}L${x - 8 * (ux + uy / 2)} ${y - 8 * (uy - ux / 2)}` : "";
  const open = 4 + 9 * (motion.grip + 1) / 2, z = 40 * share(motion.z);
  const shape = svg("svg", { viewBox: "0 0 140 100", role: "img" },
    svg("title", {}, "motion of the hand"),
    svg("circle", { cx: 50, cy: 50, r: 40, class: "ground" }), svg("path", { d: "M10 50H90M50 10V90", class: "ground" }),
    svg("path", { d: `M50 50L${x} ${y}${head}`, class: "line", "stroke-width": 3.5 }), svg("circle", { cx: 50, cy: 50, r: 2.5, class: "dot" }),
    svg("path", { d: "M104 10V90M100 50H108", class: "ground" }),
    svg("rect", { x: 101, y: Math.min(50, 50 - z), width: 6, height: Math.max(1.5, Math.abs(z)), rx: 2, class: "dot" }),
    svg("path", { d: `M126 36V44M${126 - open} 62V48Q${126 - open} 44 ${130 - open} 44H${122 + open}Q${126 + open} 44 ${126 + open} 48V62`, class: "jaw" }));
  const cm = (v) => signed(100 * v, 1);
  return el("div", { class: "dial" }, shape, el("div", { class: "numbers" }, `x ${cm(motion.x)}  y ${cm(motion.y)}  z ${cm(motion.z)} cm\ngripper ${motion.grip > 0 ? "open" : "closed"}`));
}

function told(episode, slide, at) {
  const last = episode.slides[episode.slides.length - 1];
  const held = (slide || last || { subgoals: {} }).subgoals;
  // What held at the start is not in the record; where the first decision earned no progress, it did not bring it.
  const earned = slide && Object.values(slide.terms).some((v) => v > 0);
  const before = !slide || (at === 0 && !earned) ? held : at > 0 ? episode.slides[at - 1].subgoals : {};
  const list = el("ul", { class: "subgoals" }, episode.subgoals.map((name) =>
    el("li", { class: (held[name] ? "held" : "") + (held[name] && !before[name] ? " new" : "") + (!held[name] && before[name] ? " lost" : "") },
      el("span", { class: "box" }, held[name] ? "✓" : ""), words(name))));
  if (!slide) return [
    el("p", { class: "verdict " + episode.outcome }, { success: "Done.", failure: "Failed.", truncated: "Out of time.", infra_error: "The world broke." }[episode.outcome]),
    episode.error ? el("p", { class: "error" }, episode.error) : null,
    totals(episode), list].filter(Boolean);
  return [
    slide.thought ? el("blockquote", {}, slide.thought) : null,
    el("div", { class: "action" + (slide.valid ? "" : " invalid") }, el("code", {}, (slide.valid ? slide.action : slide.reply.trim()) || "(nothing)"),
      slide.valid ? null : el("span", { class: "error" }, "no action: " + slide.error),
      slide.planned > slide.executed ? el("small", {}, `${slide.executed} of ${slide.planned} motor steps taken`) : null,
      slide.motion ? dial(slide.motion) : null),
    chips(slide.terms, slide), list, tokenised(slide),
    slide.prompt ? el("details", {}, el("summary", {}, "what the model read"), el("pre", {}, slide.prompt)) : null,
  ].filter(Boolean);
}

function chips(terms, slide) {
  const chip = (name, v, kind) => el("span", { class: "chip " + kind }, words(name) + " ", el("b", {}, signed(v)));
  const row = el("div", { class: "chips" });
  for (const [name, v] of Object.entries(terms)) if (v) row.append(chip(name, v, v > 0 ? "good" : "bad"));
  if (!row.childElementCount) row.append(el("span", { class: "chip" }, "no reward"));
  if (!slide) return row;
  for (const [name, v] of Object.entries(slide.agent_terms)) row.append(chip(name, v, "plain"));
  for (const [name, v] of [["weighted", slide.reward], ["return", slide.ret], ["value", slide.value]])
    if (v !== null) row.append(chip(name, v, "plain"));
  return row;
}

function totals(episode) {
  const sum = {};
  for (const s of episode.slides) for (const [name, v] of Object.entries(s.terms)) sum[name] = (sum[name] || 0) + v;
  return chips(sum, null);
}

// The reply token by token, coloured by advantage; tokens the policy did not sample itself are dimmed.
function tokenised(slide) {
  const coloured = slide.tokens.some((t) => t[1] !== null);
  if (!slide.tokens.length || (!coloured && slide.tokens[0][0].startsWith("#"))) return null;
  const most = Math.max(1e-6, ...slide.tokens.map((t) => Math.abs(t[1] || 0)));
  const readout = el("small", {}, coloured ? "advantage of each token: green made it likelier, red less likely" : "tokens of the reply");
  const say = (t) => {
    const facts = [t[1] === null ? null : "advantage " + signed(t[1], 3), t[2] === null ? null : "log-probability " + t[2].toFixed(3)];
    readout.textContent = [JSON.stringify(t[0]), ...facts.filter(Boolean)].join(", ");
  };
  const row = el("div", { class: "tokens" }, slide.tokens.map((t) => {
    const strength = t[1] === null ? 0 : Math.round(75 * Math.abs(t[1]) / most);
    const colour = `background:color-mix(in srgb, var(--${t[1] < 0 ? "bad" : "good"}) ${strength}%, transparent)`;
    return el("span", { style: colour, class: t[3] ? "" : "given", tabindex: "-1", onpointerenter: () => say(t), onclick: () => say(t) }, t[0]);
  }));
  return el("div", {}, row, readout);
}
