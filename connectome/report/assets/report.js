// The report's viewer: sections, graph and tables, linked by the selected neurite.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const readJson = (element) => JSON.parse(element.textContent);

  const data = readJson($("data"));
  const { directed } = data.graph;
  const [depth, rows, columns] = data.shape;
  const indexOf = new Map(data.ids.map((id, i) => [id, i])); // position of an id in data.ids
  // Okabe & Ito (2008), as in the figures.
  const palette = ["#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"];
  const rgb = palette.map((colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16)));
  const colourOf = (id) => (indexOf.has(id) ? palette[data.colours[indexOf.get(id)]] : "#8a939c");

  const state = { z: depth >> 1, selected: 0, em: true, labels: true, synapses: true };
  let labelIndex = null; // per voxel, the position of its id in data.ids

  // --- sections -------------------------------------------------------------------------------

  const canvas = $("slice");
  const scale = Math.max(1, Math.ceil(900 / columns)); // canvas pixels per pixel of the EM
  canvas.width = columns * scale;
  canvas.height = rows * scale;
  const aspectRatio = (columns * data.voxel[2]) / (rows * data.voxel[1]);
  canvas.style.aspectRatio = String(aspectRatio);
  canvas.style.maxWidth = `max(${(80 * aspectRatio).toFixed(2)}vh, 240px)`; // tall sections fit the window
  const context = canvas.getContext("2d");
  const overlay = make("canvas", { width: columns, height: rows });
  const overlayContext = overlay.getContext("2d");
  const images = new Map();

  function sectionImage(z) {
    if (!images.has(z)) {
      const image = new Image();
      image.onload = () => z === state.z && draw();
      image.src = `data:image/jpeg;base64,${data.sections[z]}`;
      images.set(z, image);
    }
    return images.get(z);
  }

  // Opacity (0 to 255) of a pixel in the overlay of neurites.
  function opacity(isEdge, isSelected, isFaded) {
    if (isSelected) return isEdge ? 255 : 150;
    if (isFaded) return isEdge ? 70 : 20;
    return isEdge ? 200 : 90;
  }

  function drawNeurites() {
    const image = overlayContext.createImageData(columns, rows);
    const selected = indexOf.get(state.selected) ?? -1;
    const partners = new Set(state.selected ? partnersOf(state.selected).map((id) => indexOf.get(id)) : []);
    const start = state.z * rows * columns;
    for (let y = 0, i = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++, i++) {
        const here = labelIndex[start + i];
        const isSelected = here > 0 && here === selected;
        if (here === 0 || !(state.labels || isSelected)) continue;
        const right = x + 1 < columns ? labelIndex[start + i + 1] : here;
        const below = y + 1 < rows ? labelIndex[start + i + columns] : here;
        const isEdge = here !== right || here !== below;
        image.data.set(rgb[data.colours[here]], 4 * i);
        const isFaded = selected >= 0 && !partners.has(here);
        image.data[4 * i + 3] = opacity(isEdge, isSelected, isFaded);
      }
    }
    overlayContext.putImageData(image, 0, 0);
  }

  const isInSection = (synapse) => Math.abs(Math.round(synapse[0]) - state.z) <= 1;
  const toCanvas = (coordinate) => (coordinate / data.step + 0.5) * scale;
  const canvasPerScreen = () => canvas.width / (canvas.clientWidth || canvas.width);

  function drawSynapses() {
    const unit = canvasPerScreen();
    for (const [z, y, x] of data.synapses.filter(isInSection)) {
      context.globalAlpha = Math.round(z) === state.z ? 1 : 0.45;
      context.beginPath();
      context.arc(toCanvas(x), toCanvas(y), 9 * unit, 0, 2 * Math.PI);
      for (const [colour, width] of [["#fff", 5], ["#D55E00", 2.5]]) {
        context.strokeStyle = colour;
        context.lineWidth = width * unit;
        context.stroke();
      }
    }
    context.globalAlpha = 1;
  }

  // The longest of …, 0.1, 0.2, 0.5, 1, … µm within a quarter of the section.
  const maxBar = (columns * data.step * data.voxel[2]) / 4000;
  const power = 10 ** Math.floor(Math.log10(maxBar));
  const barLength = power * [5, 2, 1].find((step) => step * power <= maxBar * (1 + 1e-9));

  function drawScaleBar() {
    const unit = canvasPerScreen();
    const width = (barLength * 1000 * scale) / (data.voxel[2] * data.step);
    const [left, bottom] = [12 * unit, canvas.height - 14 * unit];
    context.fillStyle = "rgba(255, 255, 255, 0.85)";
    context.fillRect(left - 6 * unit, bottom - 22 * unit, Math.max(width, 60 * unit) + 12 * unit, 30 * unit);
    context.fillStyle = "#1a1a1a";
    context.fillRect(left, bottom, width, 3 * unit);
    context.font = `${13 * unit}px system-ui, sans-serif`;
    context.fillText(`${Number(barLength.toPrecision(1))} µm`, left, bottom - 6 * unit);
  }

  function draw() {
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    const image = sectionImage(state.z);
    if (state.em && image.complete) {
      context.imageSmoothingEnabled = true;
      context.drawImage(image, 0, 0, canvas.width, canvas.height);
    }
    if (labelIndex && (state.labels || state.selected)) {
      drawNeurites();
      context.imageSmoothingEnabled = false;
      context.drawImage(overlay, 0, 0, canvas.width, canvas.height);
    }
    if (state.synapses) drawSynapses();
    drawScaleBar();
  }

  function pixelAt(event) {
    const box = canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * columns);
    const y = Math.floor(((event.clientY - box.top) / box.height) * rows);
    if (!labelIndex || x < 0 || y < 0 || x >= columns || y >= rows) return null;
    return { x, y, id: data.ids[labelIndex[(state.z * rows + y) * columns + x]] };
  }

  const HOVER_NM = 60;
  const formatPartners = (synapse) => `${synapse[3]} ${directed ? "→" : "–"} ${synapse[4].join(", ")}`;

  canvas.addEventListener("mousemove", (event) => {
    const pixel = pixelAt(event);
    if (!pixel) return;
    const near = state.synapses && data.synapses.filter(isInSection).find(
      (s) => Math.hypot((s[2] / data.step - pixel.x) * data.voxel[2],
        (s[1] / data.step - pixel.y) * data.voxel[1]) * data.step < HOVER_NM,
    );
    const [x, y] = [pixel.x, pixel.y].map((coordinate) => coordinate * data.step);
    $("hover").textContent = (pixel.id ? `Neurite ${pixel.id}` : "No neurite") +
      ` · x ${x}, y ${y}, z ${state.z}` +
      (near ? ` · synapse candidate ${formatPartners(near)}, score ${near[5].toFixed(2)}` : "");
  });
  canvas.addEventListener("mouseleave", () => ($("hover").textContent = "\u00a0"));
  canvas.addEventListener("click", (event) => {
    const pixel = pixelAt(event);
    if (pixel) select(pixel.id, false);
  });
  canvas.addEventListener("wheel", (event) => {
    const next = state.z + Math.sign(event.deltaY);
    if (!event.deltaY || event.ctrlKey || next < 0 || next >= depth) return; // scrolls the page
    event.preventDefault();
    goTo(next);
  }, { passive: false });

  function goTo(z) {
    state.z = Math.min(Math.max(z, 0), depth - 1);
    $("z").value = state.z;
    $("z-value").textContent = `${state.z} / ${depth - 1}`;
    canvas.setAttribute("aria-label", `Section ${state.z} of ${depth}, counted from 0`);
    draw();
    saveAddress();
  }

  const sectionSteps = {
    ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1,
    PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity,
  };
  const layerKeys = { e: "em", n: "labels", s: "synapses" };
  const layers = Object.values(layerKeys);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") return select(0);
    if (event.target instanceof HTMLInputElement) return; // the slider handles its own keys
    const layer = layerKeys[event.key.toLowerCase()];
    if (layer) return toggleLayer(layer);
    if (event.key in sectionSteps && event.target === canvas) {
      event.preventDefault();
      goTo(state.z + sectionSteps[event.key]);
    }
  });

  function toggleLayer(name) {
    state[name] = !state[name];
    $(name).setAttribute("aria-pressed", state[name]);
    draw();
    saveAddress();
  }
  for (const name of layers) $(name).addEventListener("click", () => toggleLayer(name));
  $("z").max = depth - 1;
  $("z").addEventListener("input", () => goTo(Number($("z").value)));

  // --- graph ----------------------------------------------------------------------------------

  const maxStrength = Math.max(...data.graph.nodes.map((node) => node[3]), 1e-9);
  const maxWeight = Math.max(...data.graph.edges.map((edge) => edge[3]), 1e-9);
  const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const graph = cytoscape({
    container: $("graph"),
    elements: [
      ...data.graph.nodes.map(([id, x, y, strength]) => ({
        data: { id: String(id), size: 14 + 26 * Math.sqrt(strength / maxStrength), colour: colourOf(id) },
        position: { x, y },
      })),
      ...data.graph.edges.map(([pre, post, count, weight]) => ({
        data: {
          id: `${pre}-${post}`, source: String(pre), target: String(post),
          width: 1 + 4 * Math.sqrt(weight / maxWeight), count,
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
      { selector: "node.selected", style: { "border-width": 4, "border-color": "#D55E00" } },
      { selector: "edge.output", style: { "line-color": "#D55E00", "target-arrow-color": "#D55E00" } },
      { selector: "edge.input", style: { "line-color": "#0072B2", "target-arrow-color": "#0072B2" } },
    ],
  });
  graph.on("tap", "node", (event) => select(Number(event.target.id()), true));
  graph.on("tap", (event) => event.target === graph && select(0));

  function describeGraph() {
    const shown = data.graph.nodes.length;
    if (shown === 0) return "The graph is empty: there are no connections.";
    const part = shown < data.graph.n_neurites ? `The ${shown} strongest of ${data.graph.n_neurites} neurites. ` : "";
    return part + "Dots are neurites, coloured as in the section; their size increases with connection weight. " +
      (directed ? "For the selected neurite, outputs are red-brown and inputs blue."
        : "Lines are undirected connections; those of the selected neurite are blue.");
  }
  $("graph-note").textContent = describeGraph();

  function fitView(part) {
    if (reducedMotion) graph.fit(part, 40);
    else graph.stop().animate({ fit: { eles: part, padding: 40 } }, { duration: 250 });
  }

  function showInGraph(id) {
    graph.elements().removeClass("faded selected output input");
    const node = graph.getElementById(String(id));
    if (node.empty()) return fitView(graph.elements());
    graph.elements().not(node.closedNeighborhood()).addClass("faded");
    node.addClass("selected");
    const outputs = node.outgoers("edge");
    if (directed) outputs.addClass("output");
    (directed ? node.incomers("edge").not(outputs) : node.connectedEdges()).addClass("input");
    fitView(node.closedNeighborhood());
  }

  // --- selected neurite -----------------------------------------------------------------------

  const idButton = (id, text = id) => {
    const button = make("button", { type: "button", className: "id", textContent: text });
    button.dataset.id = id;
    return button;
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button.id");
    if (!button) return;
    const { id, z } = button.dataset;
    select(Number(id), z === undefined);
    if (z !== undefined) goTo(Math.round(Number(z)));
    if (!button.closest("#explore")) $("explore").scrollIntoView();
  });

  function partnersOf(id) {
    return connections.flatMap(([pre, post]) => (pre === id ? [post] : post === id ? [pre] : []));
  }

  // A paragraph that lists neurites as buttons, each with a note.
  function neuriteList(title, entries) {
    const paragraph = make("p", {}, `${title}: `);
    if (entries.length === 0) paragraph.append("none");
    for (const [id, note] of entries) paragraph.append(idButton(id), `\u00a0${note}  `);
    return paragraph;
  }

  function describe(id) {
    const box = $("selection");
    if (!id) return box.replaceChildren(make("p", { className: "hint", textContent: "No neurite is selected." }));
    const swatch = make("span", { className: "swatch" });
    swatch.style.background = colourOf(id);
    const entry = (connection, other) => [connection[other], `×${connection[2]}`];
    const outputs = connections.filter((c) => c[0] === id).map((c) => entry(c, 1));
    const inputs = connections.filter((c) => c[1] === id).map((c) => entry(c, 0));
    const largest = contacts.filter((row) => row.a === id || row.b === id)
      .sort((p, q) => q.area - p.area).slice(0, 6)
      .map((row) => [row.a === id ? row.b : row.a, `${Number(row.area.toPrecision(2))}\u00a0µm²`]);
    const parts = [
      make("h3", {}, swatch, `Neurite ${id}`),
      ...(directed ? [neuriteList("Outputs to", outputs), neuriteList("Inputs from", inputs)]
        : [neuriteList("Partners", [...outputs, ...inputs])]),
    ];
    if (contacts.length) parts.push(neuriteList("Largest contacts", largest));
    if (graph.getElementById(String(id)).empty()) {
      parts.push(make("p", { className: "hint", textContent: "This neurite is not in the graph shown." }));
    }
    box.replaceChildren(...parts);
  }

  function select(id, jump = false) {
    state.selected = indexOf.has(id) ? id : 0;
    const [z] = data.locations[indexOf.get(state.selected)] ?? [-1];
    describe(state.selected);
    showInGraph(state.selected);
    if (jump && state.selected && z >= 0) goTo(z);
    else draw();
    saveAddress();
  }

  $("find").addEventListener("submit", (event) => {
    event.preventDefault();
    const id = Number($("neurite-id").value);
    if (indexOf.has(id) && id) select(id, true);
    else $("selection").replaceChildren(make("p", { textContent: `There is no neurite ${$("neurite-id").value}.` }));
  });

  // --- tables ---------------------------------------------------------------------------------

  // Fields may be quoted, as in RFC 4180.
  function parseCsv(text) {
    const parsed = [[]];
    for (const [, separator, quoted, plain] of text.trimEnd().matchAll(/(,|\r?\n|^)(?:"((?:[^"]|"")*)"|([^,\r\n]*))/g)) {
      if (separator.endsWith("\n")) parsed.push([]);
      parsed.at(-1).push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    }
    return parsed;
  }

  const PAGE_ROWS = 200;
  const idColumns = new Set(["id", "node", "pre_id", "post_id", "id_a", "id_b"]);
  const tables = {};

  function buildTable(place) {
    const file = place.dataset.file;
    const text = readJson(place.querySelector("script"));
    const [names, ...body] = parseCsv(text);
    tables[file] = { names, body };
    const numeric = names.map((_, i) => body.every((row) => row[i] === "" || !isNaN(row[i])));
    // The source is the same in every row, and stands in the page's title.
    const columnsShown = names.map((_, i) => i).filter((i) => names[i] !== "source");
    const [z, pre] = ["z", "pre_id"].map((name) => names.indexOf(name));
    const list = make("tbody");
    const count = make("span", { className: "hint" });
    let limit = PAGE_ROWS;
    let matching = body;

    function cellContent(row, i) {
      if (row[i] === "") return "";
      if (idColumns.has(names[i])) return idButton(row[i]);
      if (i !== z || pre < 0) return row[i];
      const button = idButton(row[pre], row[z]); // shows the synapse, not only its neurite
      button.dataset.z = row[z];
      return button;
    }
    function fill() {
      list.replaceChildren(...matching.slice(0, limit).map((row) => make("tr", {},
        ...columnsShown.map((i) => make("td", { className: numeric[i] ? "n" : "" }, cellContent(row, i))))));
      count.textContent = `${Math.min(limit, matching.length)} of ${matching.length} rows`;
      more.hidden = matching.length <= limit;
    }
    const more = make("button", { type: "button", textContent: "Show more" });
    more.addEventListener("click", () => { limit += 5 * PAGE_ROWS; fill(); });

    function sortBy(i, head) {
      const order = head.getAttribute("aria-sort");
      const ascending = order === "descending" || (!numeric[i] && order !== "ascending");
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const sign = ascending ? 1 : -1;
      const value = (row) => (row[i] === "" ? null : numeric[i] ? Number(row[i]) : row[i]);
      body.sort((p, q) => {
        const [a, b] = [value(p), value(q)];
        if (a === null || b === null) return (a === null) - (b === null); // empty cells last
        return sign * (numeric[i] ? a - b : a.localeCompare(b));
      });
      applyFilter();
    }
    const heads = columnsShown.map((i) => {
      const button = make("button", { type: "button", textContent: names[i] });
      const head = make("th", { scope: "col", className: numeric[i] ? "n" : "" }, button);
      button.addEventListener("click", () => sortBy(i, head));
      return head;
    });

    const filter = make("input", { type: "search", size: 14 });
    function applyFilter() {
      const part = filter.value.trim().toLowerCase();
      matching = part ? body.filter((row) => row.some((cell) => cell.toLowerCase().includes(part))) : body;
      fill();
    }
    filter.addEventListener("input", applyFilter);
    const download = make("button", { type: "button", textContent: "Download CSV" });
    download.addEventListener("click", () => {
      const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
      make("a", { href: url, download: file }).click();
      setTimeout(() => URL.revokeObjectURL(url), 1000);
    });
    const tools = make("div", { className: "tools" }, make("label", {}, "Filter ", filter), download, more, count);
    const title = place.querySelector("h3").textContent;
    const scroll = make("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: title },
      make("table", {}, make("thead", {}, make("tr", {}, ...heads)), list));
    place.append(tools, scroll);
    fill();
  }
  document.querySelectorAll("section.table").forEach(buildTable);

  function column(file, name) {
    const table = tables[file];
    const i = table ? table.names.indexOf(name) : -1;
    return i < 0 ? [] : table.body.map((row) => Number(row[i]));
  }
  const [contactA, contactB, areas] = ["id_a", "id_b", "area_um2"].map((name) => column("contact_graph.csv", name));
  const contacts = areas.map((area, i) => ({ a: contactA[i], b: contactB[i], area }));
  const [pres, posts, counts] = ["pre_id", "post_id", "n_synapses"].map((name) => column("graph_edges.csv", name));
  const connections = pres.map((pre, i) => [pre, posts[i], counts[i]]);

  // --- address: a link to the present view ----------------------------------------------------

  let saveTimer = 0;
  function saveAddress() {
    clearTimeout(saveTimer); // browsers reject addresses that change a hundred times a second
    saveTimer = setTimeout(() => {
      const shown = layers.filter((name) => state[name]).join("+");
      history.replaceState(null, "", `#z=${state.z}&pick=${state.selected}&show=${shown}`);
    }, 250);
  }

  function restoreAddress() {
    const address = new URLSearchParams(location.hash.slice(1));
    if (!address.has("z") && !address.has("pick")) return;
    if (address.has("show")) {
      const shown = address.get("show").split(/[+ ]/);
      for (const name of layers) {
        state[name] = shown.includes(name);
        $(name).setAttribute("aria-pressed", state[name]);
      }
    }
    const z = address.has("z") ? Number(address.get("z")) : NaN;
    select(Number(address.get("pick")), isNaN(z));
    if (!isNaN(z)) goTo(z);
  }

  async function decodeLabels() {
    const packed = Uint8Array.from(atob(data.labels), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = await new Response(stream).arrayBuffer();
    labelIndex = data.bytes === 2 ? new Uint16Array(bytes) : new Uint32Array(bytes);
    draw();
    document.body.dataset.ready = "true";
  }

  $("z").value = state.z;
  $("z-value").textContent = `${state.z} / ${depth - 1}`;
  restoreAddress();
  addEventListener("hashchange", restoreAddress);
  draw();
  decodeLabels().then(() => $("requirements").remove());
})();
