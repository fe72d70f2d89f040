"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const [SLICE, KIND, SIZE, X, Y, RADIUS] = [0, 1, 2, 3, 4, 5];
  const PAGE = 200, LARGEST = 32, JUMP = 4, RINGS = 100;
  const at = (id) => document.getElementById(id);
  const canvases = [...document.querySelectorAll("canvas[data-layer]")];
  const boxes = [...document.querySelectorAll("input[data-kind]")];
  const colours = data.kinds.map((kind) => `rgb(${kind.colour.join(" ")})`);
  const state = { slice: 0, zoom: 1, x: data.width / 2, y: data.height / 2, selected: null, listed: PAGE };
  const pictures = new Map();
  let order = [];

  /* Pictures are decoded when they are first needed; those of a few slices are kept. */
  function load(number) {
    if (!pictures.has(number)) {
      const stored = data.slices[number];
      const layers = ["image", "proposal", "truth", "kinds"].filter((layer) => stored[layer]);
      const decoded = layers.map(async (layer) => {
        const picture = new Image();
        picture.src = stored[layer];
        await picture.decode();
        return [layer, picture];
      });
      pictures.set(number, Promise.all(decoded).then(Object.fromEntries));
      if (pictures.size > 8) pictures.delete(pictures.keys().next().value);
    }
    return pictures.get(number);
  }

  const shownKinds = () => new Set(boxes.filter((box) => box.checked).map((box) => Number(box.dataset.kind)));

  /* The map of mismatches without the types that are switched off. */
  function overlay(picture) {
    const shown = shownKinds(), canvas = new OffscreenCanvas(picture.width, picture.height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(picture, 0, 0);
    if (shown.size === data.kinds.length) return canvas;
    const pixels = context.getImageData(0, 0, picture.width, picture.height), values = pixels.data;
    const hidden = new Set(data.kinds.filter((_, k) => !shown.has(k)).map((kind) => kind.colour.join()));
    for (let i = 0; i < values.length; i += 4) {
      if (values[i + 3] && hidden.has(`${values[i]},${values[i + 1]},${values[i + 2]}`)) values[i + 3] = 0;
    }
    context.putImageData(pixels, 0, 0);
    return canvas;
  }

  async function draw() {
    const number = state.slice, layers = await load(number);
    if (number !== state.slice) return;
    const marks = overlay(layers.kinds);
    for (const canvas of canvases) paint(canvas, layers[canvas.dataset.layer], marks);
    for (const near of [number + 1, number - 1]) if (data.slices[near]) load(near);
  }

  /* What of the slice a panel shows: [left, top, width, height] in pixels of the slice. */
  function view() {
    const width = data.width / state.zoom, height = data.height / state.zoom;
    state.x = Math.min(Math.max(state.x, width / 2), data.width - width / 2);
    state.y = Math.min(Math.max(state.y, height / 2), data.height - height / 2);
    return [state.x - width / 2, state.y - height / 2, width, height];
  }

  function paint(canvas, picture, marks) {
    const sharp = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio)) || data.width;
    canvas.width = sharp;
    canvas.height = Math.round(sharp * data.height / data.width);
    const context = canvas.getContext("2d"), [left, top, width, height] = view();
    const scale = canvas.width / width, shrunk = picture.width / data.width;
    const source = [left, top, width, height].map((value) => value * shrunk);
    context.imageSmoothingEnabled = scale < 2 * shrunk;
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, ...source, 0, 0, canvas.width, canvas.height);
    context.drawImage(marks, ...source, 0, 0, canvas.width, canvas.height);
    if (at("rings").checked) rings(context, scale, [left, top, width, height]);
    canvas.dataset.slice = state.slice;
    canvas.dataset.zoom = state.zoom;
  }

  /* The largest errors in the part of the slice that is seen, and the selected one: thousands would hide it. */
  function ringed([left, top, width, height]) {
    const shown = shownKinds();
    const seen = data.errors.filter((error) => error[SLICE] === state.slice && shown.has(error[KIND])
      && error[X] >= left && error[X] <= left + width && error[Y] >= top && error[Y] <= top + height);
    return seen.filter((error, place) => place < RINGS || error === state.selected);
  }

  function rings(context, scale, part) {
    const [left, top] = part;
    for (const error of ringed(part)) {
      const chosen = error === state.selected;
      const radius = Math.max(6 * devicePixelRatio, error[RADIUS] * scale + 4 * devicePixelRatio);
      context.beginPath();
      context.arc((error[X] - left) * scale, (error[Y] - top) * scale, radius, 0, 2 * Math.PI);
      const strokes = [["rgb(0 0 0 / .6)", chosen ? 8 : 3], ...(chosen ? [["#fff", 6]] : []), [colours[error[KIND]], chosen ? 3 : 1.5]];
      for (const [colour, width] of strokes) {
        context.strokeStyle = colour;
        context.lineWidth = width * devicePixelRatio;
        context.stroke();
      }
    }
  }

  function update() {
    const { z } = data.slices[state.slice];
    const here = data.errors.filter((error) => error[SLICE] === state.slice);
    at("slider").value = state.slice;
    at("slider").setAttribute("aria-valuetext", `slice ${z}, ${here.length} errors`);
    const most = here.length > RINGS ? `, the ${RINGS} largest in view are ringed` : "";
    at("where").textContent = `Slice ${z}: ${here.length} errors${most}`;
    at("previous").disabled = state.slice === 0;
    at("next").disabled = state.slice === data.slices.length - 1;
    [...at("strip").children].forEach((bar, k) => bar.classList.toggle("here", k === state.slice));
    for (const canvas of canvases) {
      const layer = canvas.parentElement.querySelector("figcaption").textContent;
      canvas.setAttribute("aria-label", `${layer}, slice ${z}, ${here.length} errors marked`);
    }
    draw();
  }

  function go(slice) {
    state.slice = Math.min(Math.max(slice, 0), data.slices.length - 1);
    update();
  }

  function zoom(factor) {
    state.zoom = factor === 0 ? 1 : Math.min(Math.max(state.zoom * factor, 1), LARGEST);
    draw();
  }

  function jump(error) {
    Object.assign(state, { selected: error, slice: error[SLICE], zoom: Math.max(state.zoom, JUMP), x: error[X], y: error[Y] });
    highlight();
    update();
  }

  /* The list: drawn in pages, since a bad proposal has thousands of errors. */
  function list() {
    const shown = shownKinds(), rank = at("order").value;
    order = data.errors.filter((error) => shown.has(error[KIND]));
    if (rank === "slice") order.sort((a, b) => a[SLICE] - b[SLICE] || b[SIZE] - a[SIZE]);
    if (rank === "kind") order.sort((a, b) => a[KIND] - b[KIND] || b[SIZE] - a[SIZE]);
    const items = order.slice(0, state.listed).map((error) => {
      const item = document.createElement("li"), button = document.createElement("button");
      const part = (kind, text) => {
        const span = document.createElement(kind === "swatch" ? "i" : "span");
        span.className = kind;
        span.textContent = text;
        return span;
      };
      const swatch = part("swatch", "");
      swatch.style.background = colours[error[KIND]];
      button.type = "button";
      button.append(swatch, part("name", data.kinds[error[KIND]].name), part("size", `${error[SIZE]} px`),
        part("place", `slice ${data.slices[error[SLICE]].z}`));
      button.addEventListener("click", () => jump(error));
      item.append(button);
      return item;
    });
    at("errors").replaceChildren(...items);
    at("errors-title").textContent = `${order.length} errors`;
    at("more").hidden = order.length <= state.listed;
    highlight();
  }

  function highlight() {
    const place = order.indexOf(state.selected);
    if (place >= state.listed) {
      state.listed = Math.ceil((place + 1) / PAGE) * PAGE;
      list();
      return;
    }
    const buttons = at("errors").querySelectorAll("button");
    buttons.forEach((button, k) => button.toggleAttribute("aria-current", k === place));
    if (place >= 0) {
      const box = at("errors"), row = buttons[place].parentElement, top = row.offsetTop - box.offsetTop;
      if (top < box.scrollTop || top + row.offsetHeight > box.scrollTop + box.clientHeight) {
        box.scrollTop = top - box.clientHeight / 2;
      }
    }
  }

  function step(by) {
    const place = order.indexOf(state.selected);
    const next = place < 0 ? (by > 0 ? 0 : order.length - 1) : place + by;
    if (order[next]) jump(order[next]);
  }

  /* Where a pointer is, in pixels of the slice. */
  function under(event) {
    const box = event.currentTarget.getBoundingClientRect(), [left, top, width, height] = view();
    return [left + (event.clientX - box.left) / box.width * width, top + (event.clientY - box.top) / box.height * height];
  }

  function pick(event) {
    const [x, y] = under(event), shown = shownKinds();
    const reach = 10 * data.width / state.zoom / event.currentTarget.clientWidth;
    const away = (error) => Math.hypot(error[X] - x, error[Y] - y) - error[RADIUS];
    const near = data.errors.filter((e) => e[SLICE] === state.slice && shown.has(e[KIND]) && away(e) < reach);
    near.sort((a, b) => away(a) - away(b));
    if (!near.length) return;
    state.selected = near[0];
    highlight();
    draw();
  }

  function movable(canvas) {
    let from = null, moved = false;
    canvas.addEventListener("pointerdown", (event) => {
      from = [event.clientX, event.clientY];
      moved = false;
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!from) return;
      const step = [event.clientX - from[0], event.clientY - from[1]];
      if (!moved && Math.hypot(...step) < 4) return;
      const perPixel = data.width / state.zoom / canvas.clientWidth;
      state.x -= step[0] * perPixel;
      state.y -= step[1] * perPixel;
      [from, moved] = [[event.clientX, event.clientY], true];
      draw();
    });
    canvas.addEventListener("pointerup", (event) => {
      if (from && !moved) pick(event);
      from = null;
    });
    canvas.addEventListener("pointercancel", () => { from = null; });
  }

  function strip() {
    const most = Math.max(1, ...data.slices.map((slice) => slice.mismatches));
    at("strip").replaceChildren(...data.slices.map((slice, k) => {
      const bar = document.createElement("i");
      bar.style.height = `${Math.max(6, 100 * slice.mismatches / most)}%`;
      bar.title = `slice ${slice.z}: ${slice.mismatches} mismatching pixels`;
      bar.addEventListener("click", () => go(k));
      return bar;
    }));
  }

  const KEYS = {
    ArrowLeft: () => go(state.slice - 1), ArrowRight: () => go(state.slice + 1),
    Home: () => go(0), End: () => go(data.slices.length - 1),
    "+": () => zoom(2), "=": () => zoom(2), "-": () => zoom(0.5), 0: () => zoom(0),
    n: () => step(1), p: () => step(-1),
  };
  document.addEventListener("keydown", (event) => {
    const wanted = KEYS[event.key];
    if (!wanted || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select")) return;
    if ((event.key === "Home" || event.key === "End") && !event.target.closest(".viewer")) return;
    event.preventDefault();
    wanted();
  });

  at("slider").addEventListener("input", (event) => go(Number(event.target.value)));
  at("previous").addEventListener("click", () => go(state.slice - 1));
  at("next").addEventListener("click", () => go(state.slice + 1));
  at("smaller").addEventListener("click", () => zoom(0.5));
  at("larger").addEventListener("click", () => zoom(2));
  at("fit").addEventListener("click", () => zoom(0));
  at("rings").addEventListener("change", draw);
  at("order").addEventListener("change", list);
  at("more").addEventListener("click", () => { state.listed += PAGE; list(); });
  for (const box of boxes) box.addEventListener("change", () => { list(); draw(); });
  for (const canvas of canvases) movable(canvas);
  document.querySelectorAll("[data-swatch]").forEach((swatch) => { swatch.style.background = colours[swatch.dataset.swatch]; });
  document.querySelectorAll("[data-count]").forEach((count) => {
    count.textContent = data.errors.filter((error) => error[KIND] === Number(count.dataset.count)).length;
  });
  new ResizeObserver(draw).observe(canvases[0].parentElement);
  strip();
  list();
  go(data.slices.reduce((worst, slice, k) => (slice.mismatches > data.slices[worst].mismatches ? k : worst), 0));
})();
