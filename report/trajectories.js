"use strict";
// Draws the view of trajectories from the JSON on the same page. Text of a model is set as text, never as markup.
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("trajectories-data").textContent);
  const ui = {};
  for (const name of ["run", "neuron", "outcome", "split", "sort", "response", "count", "title", "chart", "legend", "readout", "text"]) {
    ui[name] = byId("traj-" + name);
  }
  const MINUS = "\u2212";
  const BINS = [5, 10, 15, 25]; // tenths of a standard deviation
  const state = { run: null, response: null, neuron: 0, token: -1, tokens: [], cursor: null, x: null };

  const signed = (hundredths) => (hundredths < 0 ? MINUS : "+") + (Math.abs(hundredths) / 100).toFixed(2);
  const plain = (hundredths) => (hundredths < 0 ? MINUS : "") + (Math.abs(hundredths) / 100).toFixed(2);
  const outcome = (response) => (response.reward ? "correct" : "incorrect");
  const responseName = (response) => response.id + (response.sample ? "/" + response.sample : "");
  const surprise = (response) => 100 * response.reward - response.v[0][0];
  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const shape = (tag, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const option = (value, text) => {
    const made = element("option", "", text);
    made.value = value;
    return made;
  };
  const shade = (tenths) => {
    const level = BINS.filter((bin) => Math.abs(tenths) >= bin).length;
    return level ? "traj-t traj-" + (tenths < 0 ? "n" : "p") + level : "traj-t";
  };
  const activation = () => state.response.a[state.neuron];

  function neuronName(one) {
    const rank = one.kind === "dopamine" ? "dopamine, rank " + one.rank : "random";
    const rho = one.rho ? ", \u03c1 " + plain(one.rho[0]) + " [" + plain(one.rho[1]) + ", " + plain(one.rho[2]) + "]" : "";
    return one.neuron + " (" + rank + (one.sign < 0 ? ", sign reversed" : "") + rho + ")";
  }

  function chosenResponses() {
    const order = {
      size: (a, b) => Math.abs(surprise(b)) - Math.abs(surprise(a)),
      up: (a, b) => surprise(b) - surprise(a),
      down: (a, b) => surprise(a) - surprise(b),
      id: () => 0,
    }[ui.sort.value];
    const fits = (one) =>
      (ui.outcome.value === "all" || String(one.reward) === ui.outcome.value) && (ui.split.value === "all" || one.split === ui.split.value);
    return state.run.responses.map((one, index) => [one, index]).filter(([one]) => fits(one)).sort((a, b) => order(a[0], b[0]) || a[1] - b[1]);
  }

  function fillResponses() {
    const before = ui.response.value;
    const chosen = chosenResponses();
    ui.response.replaceChildren(
      ...chosen.map(([one, index]) =>
        option(String(index), responseName(one) + "  " + outcome(one) + "  " + signed(surprise(one)))
      )
    );
    ui.count.textContent = "(" + chosen.length + " shown, " + state.run.total + " traced)";
    if (chosen.some(([, index]) => String(index) === before)) ui.response.value = before;
    else if (chosen.length) ui.response.selectedIndex = 0;
    showResponse();
  }

  function fillRun() {
    state.run = data.runs[Number(ui.run.value)];
    ui.neuron.replaceChildren(...state.run.neurons.map((one, index) => option(String(index), neuronName(one))));
    ui.response.value = "";
    fillResponses();
  }

  function showResponse() {
    state.response = state.run.responses[Number(ui.response.value)];
    state.token = -1;
    ui.readout.textContent = "";
    if (!ui.response.value || !state.response) {
      state.response = null;
      ui.title.textContent = "No response matches.";
      for (const part of [ui.chart, ui.text]) part.replaceChildren();
      return;
    }
    const one = state.response;
    ui.title.textContent =
      one.id + ", " + (one.split === "train" ? "training" : one.split) + " problem: " + outcome(one) +
      ", V(s\u2080) " + plain(one.v[0][0]) + ", surprise " + signed(surprise(one));
    drawText();
    showNeuron();
  }

  function showNeuron() {
    state.neuron = Number(ui.neuron.value);
    if (!state.response) return;
    const levels = activation();
    state.tokens.forEach((token, index) => { token.className = shade(levels[index]); });
    drawChart();
    if (state.token >= 0) moveTo(state.token);
  }

  function drawText() {
    const one = state.response;
    state.tokens = [];
    const blocks = one.ends.slice(1).map((end, k) => {
      const block = element("div", "traj-par");
      const note = element("div", "traj-note");
      note.append(element("b", "", "Paragraph " + (k + 1)));
      note.append(element("span", "", "\u03b4 " + signed(one.d[0][k]) + (one.kept[k] ? "" : " (small)")));
      note.append(element("span", "", "V " + plain(one.v[0][k + 1])));
      const words = element("div", "traj-words");
      let tail = end - 1; // the blank line that ends a paragraph shows as one sign
      while (tail > one.ends[k] && !one.pieces[tail].trim()) tail -= 1;
      for (let index = one.ends[k]; index < end; index += 1) {
        const token = element("span", "traj-t", index < tail ? one.pieces[index] : one.pieces[index].replace(/\n+$/, "\u21b5"));
        token.dataset.index = index;
        state.tokens.push(token);
        words.append(token);
      }
      block.append(note, words);
      return block;
    });
    ui.text.replaceChildren(...blocks);
    ui.text.scrollTop = 0;
  }

  function drawChart() {
    const one = state.response;
    const levels = activation();
    const total = Math.max(levels.length, 1);
    const [left, right] = [40, 8];
    const width = Math.min(Math.max(ui.chart.clientWidth, 300), 900); // as wide as it is shown, so that letters keep their size
    const x = (token) => left + ((width - left - right) * token) / total;
    const svg = shape("svg", { viewBox: "0 0 " + width + " 292", role: "img", "aria-label": chartWords() });
    const band = (top, height, low, high, label, ticks) => {
      const y = (value) => top + height - (height * (Math.min(Math.max(value, low), high) - low)) / (high - low);
      for (const tick of ticks) {
        svg.append(shape("line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick), class: "axis", "stroke-opacity": tick === 0 ? 1 : 0.25 }));
        svg.append(shape("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, String(tick).replace("-", MINUS)));
      }
      svg.append(shape("text", { x: left, y: top - 5 }, label));
      return y;
    };
    const whisker = (at, y, low, high) => svg.append(shape("path", { d: "M" + at + " " + y(low) + "V" + y(high), class: "whisker" }));
    for (const end of one.ends.slice(1, -1)) svg.append(shape("line", { x1: x(end), x2: x(end), y1: 18, y2: 270, class: "edge" }));

    const value = band(24, 56, 0, 1, "value V(s) at the boundaries", [0, 0.5, 1]);
    svg.append(shape("path", { d: "M" + one.ends.map((end, k) => x(end) + " " + value(one.v[0][k] / 100)).join("L"), class: "value" }));
    one.ends.forEach((end, k) => {
      whisker(x(end), value, one.v[1][k] / 100, one.v[2][k] / 100);
      svg.append(shape("circle", { cx: x(end), cy: value(one.v[0][k] / 100), r: 3, class: "dot" }));
    });

    const delta = band(106, 56, -1, 1, "TD error \u03b4 of each paragraph, dark: kept", [-1, 0, 1]);
    one.d[0].forEach((hundredths, k) => {
      const [start, end, level] = [x(one.ends[k]), x(one.ends[k + 1]), delta(hundredths / 100)];
      const box = { x: start + 1, width: Math.max(end - start - 2, 1), y: Math.min(level, delta(0)), height: Math.abs(level - delta(0)) };
      svg.append(shape("rect", { ...box, class: one.kept[k] ? "kept" : "small" }));
      whisker((start + end) / 2, delta, one.d[1][k] / 100, one.d[2][k] / 100);
    });

    const reach = Math.max(2, Math.ceil(Math.max(...levels.map(Math.abs), 0) / 10));
    const line = band(188, 82, -reach, reach, "activation (SD), thick: paragraph means", [-reach, 0, reach]);
    one.ends.slice(1).forEach((end, k) => {
      const part = levels.slice(one.ends[k], end);
      const mean = line(part.reduce((sum, each) => sum + each, 0) / part.length / 10);
      svg.append(shape("line", { x1: x(one.ends[k]) + 1, x2: x(end) - 1, y1: mean, y2: mean, class: "mean" }));
    });
    if (levels.length) svg.append(shape("path", { d: "M" + levels.map((each, index) => x(index + 0.5) + " " + line(each / 10)).join("L"), class: "line" }));
    svg.append(shape("text", { x: width - right, y: 287, "text-anchor": "end" }, levels.length + " tokens"));
    state.cursor = shape("line", { x1: left, x2: left, y1: 18, y2: 270, class: "here hidden" });
    svg.append(state.cursor);
    state.x = x;
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const token = Math.floor(((((event.clientX - box.left) * width) / box.width - left) * total) / (width - left - right));
      if (token >= 0 && token < levels.length) moveTo(token);
    });
    ui.chart.replaceChildren(svg);
  }

  function chartWords() {
    const one = state.response;
    return "Values " + one.v[0].map(plain).join(", ") + "; TD errors " + one.d[0].map(signed).join(", ") + "; activation over " + one.pieces.length + " tokens.";
  }

  function moveTo(index) {
    const levels = activation();
    if (state.token >= 0 && state.tokens[state.token]) state.tokens[state.token].classList.remove("traj-at");
    state.token = index;
    state.tokens[index].classList.add("traj-at");
    state.cursor.setAttribute("class", "here");
    for (const end of ["x1", "x2"]) state.cursor.setAttribute(end, state.x(index + 0.5));
    const paragraph = state.response.ends.findIndex((end) => end > index);
    const level = (levels[index] < 0 ? MINUS : "+") + (Math.abs(levels[index]) / 10).toFixed(1);
    ui.readout.textContent = "Token " + (index + 1) + " of " + levels.length + " (paragraph " + paragraph + "): " + level + " SD, " + JSON.stringify(state.response.pieces[index]);
  }

  function step(event) {
    const jump = { ArrowRight: 1, ArrowDown: 10, ArrowLeft: -1, ArrowUp: -10, Home: -Infinity, End: Infinity }[event.key];
    if (jump === undefined || !state.tokens.length) return;
    event.preventDefault();
    moveTo(Math.min(Math.max(state.token + jump, 0), state.tokens.length - 1));
    const [box, token] = [ui.text.getBoundingClientRect(), state.tokens[state.token].getBoundingClientRect()];
    if (token.bottom > box.bottom) ui.text.scrollTop += token.bottom - box.bottom + 8;
    if (token.top < box.top) ui.text.scrollTop -= box.top - token.top + 8;
  }

  function drawLegend() {
    const steps = [-25, -15, -10, -5, 0, 5, 10, 15, 25];
    const name = (tenths) => (tenths ? (tenths < 0 ? "\u2264 " + MINUS : "\u2265 +") + Math.abs(tenths) / 10 : "near 0");
    ui.legend.replaceChildren(
      element("b", "", "Activation, standard deviations:"),
      ...steps.map((tenths) => element("span", shade(tenths), name(tenths))),
      document.createTextNode("(line below: positive; dots below: negative)")
    );
  }

  function start() {
    if (!data.runs.some((run) => run.responses.length)) {
      byId("trajectories-view").append(element("p", "", "No response was traced in this study: there is nothing to show."));
      return;
    }
    ui.run.replaceChildren(...data.runs.map((one, index) => option(String(index), one.run + ", layer " + one.layer)));
    for (const name of ["outcome", "split", "sort"]) ui[name].addEventListener("change", fillResponses);
    ui.run.addEventListener("change", fillRun);
    ui.neuron.addEventListener("change", showNeuron);
    ui.response.addEventListener("change", showResponse);
    ui.text.addEventListener("keydown", step);
    const pointed = (event) => { if (event.target.dataset.index !== undefined) moveTo(Number(event.target.dataset.index)); };
    for (const kind of ["pointerover", "click"]) ui.text.addEventListener(kind, pointed);
    addEventListener("resize", () => { if (state.response) { drawChart(); if (state.token >= 0) moveTo(state.token); } });
    byId("traj-body").hidden = false;
    drawLegend();
    fillRun();
  }

  start();
})();
