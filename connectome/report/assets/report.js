// The page's program: a slice viewer, the graph and the tables, all of one chosen neurite.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const read = (element) => JSON.parse(element.textContent);

  const data = read($("data"));
  const [depth, rows, columns] = data.shape;
  const placeOf = new Map(data.ids.map((id, i) => [id, i])); // of an id in data.ids
  // Okabe & Ito (2008), as in the figures.
  const palette = ["#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"];
  const rgb = palette.map((colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16)));
  const colourOf = (id) => (placeOf.has(id) ? palette[data.colours[placeOf.get(id)]] : "#8a939c");

  const state = { z: depth >> 1, pick: 0, em: true, labels: true, synapses: true };
  let index = null; // which of data.ids every voxel is

  // --- the slice ------------------------------------------------------------------------------

  const canvas = $("slice");
  const fold = Math.max(1, Math.ceil(900 / columns)); // pixels of the canvas per pixel of the EM
  canvas.width = columns * fold;
  canvas.height = rows * fold;
  const wide = (columns * data.voxel[2]) / (rows * data.voxel[1]);
  canvas.style.aspectRatio = String(wide);
  canvas.style.maxWidth = `max(${(80 * wide).toFixed(2)}vh, 240px)`; // a tall section is seen whole
  const ink = canvas.getContext("2d");
  const overlay = make("canvas", { width: columns, height: rows });
  const tint = overlay.getContext("2d");
  const images = new Map();

  function section(z) {
    if (!images.has(z)) {
      const image = new Image();
      image.onload = () => z === state.z && draw();
      image.src = `data:image/jpeg;base64,${data.sections[z]}`;
      images.set(z, image);
    }
    return images.get(z);
  }

  function paintNeurites() {
    const picture = tint.createImageData(columns, rows);
    const chosen = placeOf.get(state.pick) ?? -1;
    const partner = new Set(state.pick ? partnersOf(state.pick).map((id) => placeOf.get(id)) : []);
    const start = state.z * rows * columns;
    for (let y = 0, i = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++, i++) {
        const here = index[start + i];
        const isChosen = here > 0 && here === chosen;
        if (here === 0 || !(state.labels || isChosen)) continue;
        const right = x + 1 < columns ? index[start + i + 1] : here;
        const below = y + 1 < rows ? index[start + i + columns] : here;
        const edge = here !== right || here !== below;
        const colour = rgb[data.colours[here]];
        picture.data.set(colour, 4 * i);
        const clear = chosen < 0 || partner.has(here);
        picture.data[4 * i + 3] = isChosen ? (edge ? 255 : 150) : clear ? (edge ? 200 : 90) : edge ? 70 : 20;
      }
    }
    tint.putImageData(picture, 0, 0);
  }

  const onSection = (synapse) => Math.abs(Math.round(synapse[0]) - state.z) <= 1;
  const toCanvas = (place) => (place / data.step + 0.5) * fold;

  function paintSynapses() {
    const stretch = canvas.width / (canvas.clientWidth || canvas.width);
    for (const synapse of data.synapses.filter(onSection)) {
      const [z, y, x, pre, posts] = synapse;
      ink.globalAlpha = Math.round(z) === state.z ? 1 : 0.45;
      ink.beginPath();
      ink.arc(toCanvas(x), toCanvas(y), 9 * stretch, 0, 2 * Math.PI);
      for (const [colour, width] of [["#fff", 5], ["#D55E00", 2.5]]) {
        ink.strokeStyle = colour;
        ink.lineWidth = width * stretch;
        ink.stroke();
      }
    }
    ink.globalAlpha = 1;
  }

  // The longest of …, 0.1, 0.2, 0.5, 1, … µm within a quarter of the section.
  const quarter = (columns * data.step * data.voxel[2]) / 4000;
  const power = 10 ** Math.floor(Math.log10(quarter));
  const bar = power * [5, 2, 1].find((step) => step * power <= quarter * (1 + 1e-9));

  function paintScaleBar() {
    const stretch = canvas.width / (canvas.clientWidth || canvas.width);
    const long = (bar * 1000 * fold) / (data.voxel[2] * data.step);
    const [left, bottom] = [12 * stretch, canvas.height - 14 * stretch];
    ink.fillStyle = "rgba(255, 255, 255, 0.85)";
    ink.fillRect(left - 6 * stretch, bottom - 22 * stretch, Math.max(long, 60 * stretch) + 12 * stretch, 30 * stretch);
    ink.fillStyle = "#1a1a1a";
    ink.fillRect(left, bottom, long, 3 * stretch);
    ink.font = `${13 * stretch}px system-ui, sans-serif`;
    ink.fillText(`${Number(bar.toPrecision(1))} µm`, left, bottom - 6 * stretch);
  }

  function draw() {
    ink.fillStyle = "#fff";
    ink.fillRect(0, 0, canvas.width, canvas.height);
    const image = section(state.z);
    if (state.em && image.complete) {
      ink.imageSmoothingEnabled = true;
      ink.drawImage(image, 0, 0, canvas.width, canvas.height);
    }
    if (index && (state.labels || state.pick)) {
      paintNeurites();
      ink.imageSmoothingEnabled = false;
      ink.drawImage(overlay, 0, 0, canvas.width, canvas.height);
    }
    if (state.synapses) paintSynapses();
    paintScaleBar();
  }

  function under(event) {
    const box = canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * columns);
    const y = Math.floor(((event.clientY - box.top) / box.height) * rows);
    if (!index || x < 0 || y < 0 || x >= columns || y >= rows) return null;
    return { x, y, id: data.ids[index[(state.z * rows + y) * columns + x]] };
  }

  const { directed } = data.graph;
  const partners = (synapse) => `${synapse[3]} ${directed ? "→" : "–"} ${synapse[4].join(", ")}`;

  canvas.addEventListener("mousemove", (event) => {
    const spot = under(event);
    if (!spot) return;
    const near = state.synapses && data.synapses.filter(onSection).find(
      (s) => Math.hypot((s[2] / data.step - spot.x) * data.voxel[2],
        (s[1] / data.step - spot.y) * data.voxel[1]) * data.step < 60,
    );
    const [x, y] = [spot.x, spot.y].map((place) => place * data.step);
    $("hover").textContent = (spot.id ? `Neurite ${spot.id}` : "No neurite") +
      ` · x ${x}, y ${y}, z ${state.z}` +
      (near ? ` · synapse candidate ${partners(near)}, score ${near[5].toFixed(2)}` : "");
  });
  canvas.addEventListener("mouseleave", () => ($("hover").textContent = "\u00a0"));
  canvas.addEventListener("click", (event) => {
    const spot = under(event);
    if (spot) pick(spot.id, false);
  });
  canvas.addEventListener("wheel", (event) => {
    const next = state.z + Math.sign(event.deltaY);
    if (!event.deltaY || event.ctrlKey || next < 0 || next >= depth) return; // the page's
    event.preventDefault();
    go(next);
  }, { passive: false });

  function go(z) {
    state.z = Math.min(Math.max(z, 0), depth - 1);
    $("z").value = state.z;
    $("zsaid").textContent = `${state.z} / ${depth - 1}`;
    canvas.setAttribute("aria-label", `Section ${state.z} of ${depth}, from 0`);
    draw();
    remember();
  }

  const steps = {
    ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1,
    PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity,
  };
  const switches = { e: "em", n: "labels", s: "synapses" };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") return pick(0);
    if (event.target instanceof HTMLInputElement) return; // the slider has its own arrows
    const pressed = switches[event.key.toLowerCase()];
    if (pressed) return flip(pressed);
    if (event.key in steps && event.target === canvas) {
      event.preventDefault();
      go(state.z + steps[event.key]);
    }
  });

  function flip(name, on = !state[name]) {
    state[name] = on;
    $(name).setAttribute("aria-pressed", on);
    draw();
    remember();
  }
  for (const name of Object.values(switches)) $(name).addEventListener("click", () => flip(name));
  $("z").max = depth - 1;
  $("z").addEventListener("input", () => go(Number($("z").value)));

  // --- the graph ------------------------------------------------------------------------------

  const strongest = Math.max(...data.graph.nodes.map((node) => node[3]), 1e-9);
  const heaviest = Math.max(...data.graph.edges.map((edge) => edge[3]), 1e-9);
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const graph = cytoscape({
    container: $("graph"),
    elements: [
      ...data.graph.nodes.map(([id, x, y, strength]) => ({
        data: { id: String(id), size: 14 + 26 * Math.sqrt(strength / strongest), colour: colourOf(id) },
        position: { x, y },
      })),
      ...data.graph.edges.map(([pre, post, count, weight]) => ({
        data: {
          id: `${pre}-${post}`, source: String(pre), target: String(post),
          width: 1 + 4 * Math.sqrt(weight / heaviest), count,
        },
      })),
    ],
    layout: { name: "preset", padding: 20 },
    wheelSensitivity: 0.3,
    maxZoom: 1.4,
    style: [
      { selector: "node", style: {
        label: "data(id)", width: "data(size)", height: "data(size)", "font-size": 14,
        "background-color": "data(colour)", "border-width": 1.2, "border-color": "#1a1a1a",
        "text-valign": "top", "text-margin-y": -2, "min-zoomed-font-size": 6,
        "text-background-color": "#fff", "text-background-opacity": 0.7 } },
      { selector: "edge", style: {
        width: "data(width)", "line-color": "#8a939c", "target-arrow-color": "#8a939c",
        "target-arrow-shape": directed ? "triangle" : "none", "curve-style": "bezier",
        "arrow-scale": 0.9 } },
      { selector: ".faded", style: { opacity: 0.18 } },
      { selector: "node.chosen", style: { "border-width": 4, "border-color": "#D55E00" } },
      { selector: "edge.out", style: { "line-color": "#D55E00", "target-arrow-color": "#D55E00" } },
      { selector: "edge.into", style: { "line-color": "#0072B2", "target-arrow-color": "#0072B2" } },
    ],
  });
  graph.on("tap", "node", (event) => pick(Number(event.target.id()), true));
  graph.on("tap", (event) => event.target === graph && pick(0));
  const shown = data.graph.nodes.length;
  $("graphsaid").textContent = shown === 0 ? "The graph is empty: no neurite has a connection."
    : (shown < data.graph.whole ? `The ${shown} strongest of ${data.graph.whole} neurites. ` : "") +
      "Dots are neurites, larger ones with stronger connections, in the colours of the slice. " +
      (directed ? "Of a chosen one, outputs are red-brown and inputs blue."
        : "Lines are connections without direction, those of a chosen one blue.");

  function look(part) {
    if (still) graph.fit(part, 40);
    else graph.stop().animate({ fit: { eles: part, padding: 40 } }, { duration: 250 });
  }

  function showInGraph(id) {
    graph.elements().removeClass("faded chosen out into");
    const node = graph.getElementById(String(id));
    if (node.empty()) return look(graph.elements());
    graph.elements().not(node.closedNeighborhood()).addClass("faded");
    node.addClass("chosen");
    const out = node.outgoers("edge");
    if (directed) out.addClass("out");
    (directed ? node.incomers("edge").not(out) : node.connectedEdges()).addClass("into");
    look(node.closedNeighborhood());
  }

  // --- the chosen neurite ---------------------------------------------------------------------

  const button = (id, text = id) => {
    const made = make("button", { type: "button", className: "id", textContent: text });
    made.dataset.id = id;
    return made;
  };
  document.addEventListener("click", (event) => {
    const pressed = event.target.closest?.("button.id");
    if (!pressed) return;
    const { id, z } = pressed.dataset;
    pick(Number(id), z === undefined);
    if (z !== undefined) go(Math.round(Number(z)));
    if (!pressed.closest("#explore")) $("explore").scrollIntoView();
  });

  function partnersOf(id) {
    return connections.flatMap(([pre, post]) => (pre === id ? [post] : post === id ? [pre] : []));
  }

  function listed(title, found) {
    const line = make("p", {}, `${title}: `);
    if (found.length === 0) line.append("none");
    for (const [id, said] of found) line.append(button(id), `\u00a0${said}  `);
    return line;
  }

  function describe(id) {
    const box = $("picked");
    if (!id) return box.replaceChildren(make("p", { className: "hint", textContent: "No neurite is chosen." }));
    const swatch = make("span", { className: "swatch" });
    swatch.style.background = colourOf(id);
    const size = (edge, other) => [edge[other], `×${edge[2]}`];
    const touching = contacts.filter((row) => row.a === id || row.b === id)
      .sort((p, q) => q.area - p.area).slice(0, 6)
      .map((row) => [row.a === id ? row.b : row.a, `${Number(row.area.toPrecision(2))}\u00a0µm²`]);
    const outputs = connections.filter((e) => e[0] === id).map((e) => size(e, 1));
    const inputs = connections.filter((e) => e[1] === id).map((e) => size(e, 0));
    const parts = [
      make("h3", {}, swatch, `Neurite ${id}`),
      ...(directed ? [listed("Outputs to", outputs), listed("Inputs from", inputs)]
        : [listed("Partners", [...outputs, ...inputs])]),
    ];
    if (contacts.length) parts.push(listed("Touches most", touching));
    if (graph.getElementById(String(id)).empty()) {
      parts.push(make("p", { className: "hint", textContent: "It is not in the graph shown." }));
    }
    box.replaceChildren(...parts);
  }

  function pick(id, jump = false) {
    state.pick = placeOf.has(id) ? id : 0;
    const [z] = data.places[placeOf.get(state.pick)] ?? [-1];
    describe(state.pick);
    showInGraph(state.pick);
    if (jump && state.pick && z >= 0) go(z);
    else draw();
    remember();
  }

  $("find").addEventListener("submit", (event) => {
    event.preventDefault();
    const id = Number($("wanted").value);
    if (placeOf.has(id) && id) pick(id, true);
    else $("picked").replaceChildren(make("p", { textContent: `There is no neurite ${$("wanted").value}.` }));
  });

  // --- tables ---------------------------------------------------------------------------------

  // Fields may be quoted, as in RFC 4180.
  function parsed(text) {
    const found = [[]];
    for (const [, separator, quoted, plain] of text.trimEnd().matchAll(/(,|\r?\n|^)(?:"((?:[^"]|"")*)"|([^,\r\n]*))/g)) {
      if (separator.endsWith("\n")) found.push([]);
      found.at(-1).push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    }
    return found;
  }

  const SHOWN = 200;
  const idColumns = new Set(["id", "node", "pre_id", "post_id", "id_a", "id_b"]);
  const tables = {};
  for (const place of document.querySelectorAll("section.table")) {
    const file = place.dataset.file;
    const text = read(place.querySelector("script"));
    const [names, ...body] = parsed(text);
    tables[file] = { names, body };
    const numeric = names.map((_, i) => body.every((row) => row[i] === "" || !isNaN(row[i])));
    const list = make("tbody");
    const count = make("span", { className: "hint" });
    let most = SHOWN;
    let matching = body;

    // The source is the same in every row, and in the page's title.
    const columnsShown = names.map((_, i) => i).filter((i) => names[i] !== "source");
    const [z, pre] = ["z", "pre_id"].map((name) => names.indexOf(name));

    function shownCell(row, i) {
      if (row[i] === "") return "";
      if (idColumns.has(names[i])) return button(row[i]);
      if (i !== z || pre < 0) return row[i];
      const place = button(row[pre], row[z]); // leads to the synapse, not only to its neurite
      place.dataset.z = row[z];
      return place;
    }
    const fill = () => {
      list.replaceChildren(...matching.slice(0, most).map((row) => make("tr", {},
        ...columnsShown.map((i) => make("td", { className: numeric[i] ? "n" : "" }, shownCell(row, i))))));
      count.textContent = `${Math.min(most, matching.length)} of ${matching.length} rows`;
      more.hidden = matching.length <= most;
    };
    const more = make("button", { type: "button", textContent: "Show more" });
    more.addEventListener("click", () => { most += 5 * SHOWN; fill(); });

    const heads = columnsShown.map((i) => {
      const name = names[i];
      const head = make("th", { scope: "col", className: numeric[i] ? "n" : "" }, make("button", { type: "button", textContent: name }));
      head.firstChild.addEventListener("click", () => {
        const falling = head.getAttribute("aria-sort") === "descending" || !numeric[i] && head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", falling ? "ascending" : "descending");
        const sign = falling ? 1 : -1;
        const value = (row) => (row[i] === "" ? null : numeric[i] ? Number(row[i]) : row[i]);
        body.sort((p, q) => {
          const [a, b] = [value(p), value(q)];
          if (a === null || b === null) return (a === null) - (b === null); // gaps go last
          return sign * (numeric[i] ? a - b : a.localeCompare(b));
        });
        filter();
      });
      return head;
    });

    const wanted = make("input", { type: "search", size: 14 });
    const filter = () => {
      const word = wanted.value.trim().toLowerCase();
      matching = word ? body.filter((row) => row.some((cell) => cell.toLowerCase().includes(word))) : body;
      fill();
    };
    wanted.addEventListener("input", filter);
    const save = make("button", { type: "button", textContent: "Download CSV" });
    save.addEventListener("click", () => {
      const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
      make("a", { href: url, download: file }).click();
      setTimeout(() => URL.revokeObjectURL(url), 1000);
    });
    const tools = make("div", { className: "tools" }, make("label", {}, "Filter ", wanted), save, more, count);
    const title = place.querySelector("h3").textContent;
    const scroll = make("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: title },
      make("table", {}, make("thead", {}, make("tr", {}, ...heads)), list));
    place.append(tools, scroll);
    fill();
  }

  function column(file, name) {
    const table = tables[file];
    const i = table ? table.names.indexOf(name) : -1;
    return i < 0 ? [] : table.body.map((row) => Number(row[i]));
  }
  const [touchA, touchB, area] = ["id_a", "id_b", "area_um2"].map((name) => column("contact_graph.csv", name));
  const contacts = area.map((um2, i) => ({ a: touchA[i], b: touchB[i], area: um2 }));
  const [pres, posts, counts, weights] = ["pre_id", "post_id", "n_synapses", "weight"].map((name) => column("graph_edges.csv", name));
  const connections = pres.map((pre, i) => [pre, posts[i], counts[i], weights[i]]);

  // --- the address: a place that can be passed on -----------------------------------------------

  let remembering = 0;
  function remember() {
    clearTimeout(remembering); // browsers refuse an address that changes a hundred times a second
    remembering = setTimeout(() => {
      const on = Object.values(switches).filter((name) => state[name]).join("+");
      history.replaceState(null, "", `#z=${state.z}&pick=${state.pick}&show=${on}`);
    }, 250);
  }

  function recall() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    if (!wanted.has("z") && !wanted.has("pick")) return;
    if (wanted.has("show")) {
      const on = wanted.get("show").split(/[+ ]/);
      for (const name of Object.values(switches)) {
        state[name] = on.includes(name);
        $(name).setAttribute("aria-pressed", state[name]);
      }
    }
    const z = wanted.has("z") ? Number(wanted.get("z")) : NaN;
    pick(Number(wanted.get("pick")), isNaN(z));
    if (!isNaN(z)) go(z);
  }

  async function unpack() {
    const packed = Uint8Array.from(atob(data.labels), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = await new Response(stream).arrayBuffer();
    index = data.bytes === 2 ? new Uint16Array(bytes) : new Uint32Array(bytes);
    draw();
    document.body.dataset.ready = "true";
  }

  $("z").value = state.z;
  $("zsaid").textContent = `${state.z} / ${depth - 1}`;
  recall();
  addEventListener("hashchange", recall);
  draw();
  unpack().then(() => $("needs").remove());
})();
