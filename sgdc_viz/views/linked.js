// Links all pictures of the page: one zoom, one cross-hair, one selected pixel.
// Runs once for each gr.HTML as its js_on_load, where Gradio gives: element, trigger, watch.
const page = (window.sgdcPage ??= { zoom: 1, y: 0, x: 0, centre: [0, 0], key: null, stride: 1 });
const linked = () => document.querySelectorAll("svg.sg-linked");
const sizeOf = (svg) => [Number(svg.dataset.height), Number(svg.dataset.width)];
const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

function windowOf(height, width) {
  if (page.zoom <= 1) return [0, 0, height, width];
  const side = Math.max(1, Math.round(Math.max(height, width) / page.zoom));
  const start = (centre, size) => (side <= size ? clamp(centre - Math.floor(side / 2), 0, size - side) : (size - side) / 2);
  return [start(page.centre[0], height), start(page.centre[1], width), side, side];
}

function draw() {
  for (const svg of linked()) {
    const [height, width] = sizeOf(svg);
    const [y0, x0, h, w] = windowOf(height, width);
    svg.setAttribute("viewBox", `${x0} ${y0} ${w} ${h}`);
    const side = Number(svg.dataset.side);
    for (const rect of svg.querySelectorAll(".sg-mark rect")) {
      // the footprint: centred on the feature pixel that the selected pixel lies in
      const corner = (n) => Math.floor(n / page.stride) * page.stride - (side - page.stride) / 2;
      rect.setAttribute("y", corner(page.y));
      rect.setAttribute("x", corner(page.x));
    }
  }
  for (const button of document.querySelectorAll("button.sg-zoom"))
    button.setAttribute("aria-pressed", String(Number(button.dataset.zoom) === page.zoom));
}

function keepInView() {
  for (const svg of linked()) {
    const [y0, x0, h, w] = windowOf(...sizeOf(svg));
    if (page.y < y0 || page.y >= y0 + h || page.x < x0 || page.x >= x0 + w) page.centre = [page.y, page.x];
    return;
  }
}

function pixelAt(event) {
  const svg = event.target.closest?.("svg.sg-linked");
  if (!svg) return null;
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  const [height, width] = sizeOf(svg);
  const [y, x] = [Math.floor(point.y), Math.floor(point.x)];
  return y < 0 || x < 0 || y >= height || x >= width ? null : [y, x];
}

function select(y, x) {
  [page.y, page.x] = [y, x];
  keepInView();
  draw();
  if (!waiting()) ask();
}

// One question at a time: what is selected meanwhile is asked when the answer is there, so a held key loses no step.
const waiting = () => page.asked && Date.now() < page.asked.until;

function ask() {
  page.asked = { y: page.y, x: page.x, until: Date.now() + 2000 };
  trigger("select", { index: [page.x, page.y], value: null });
}

// Painting a region: on the picture of a figure named "canvas", by dragging, or with the space bar at the pixel.
const brush = () => Number(document.querySelector("#sg-brush input")?.value ?? 8); // radius in image pixels
const canvasAt = (event) => event.target.closest?.('[data-figure="canvas"] svg.sg-linked');
let stroke = null;

function dab(svg, y, x, radius) {
  let group = svg.querySelector(".sg-dabs");
  if (!group) {
    group = document.createElementNS(svg.namespaceURI, "g");
    group.setAttribute("class", "sg-dabs");
    svg.querySelector("image").after(group);
  }
  const circle = document.createElementNS(svg.namespaceURI, "circle");
  for (const [name, value] of Object.entries({ cy: y + 0.5, cx: x + 0.5, r: radius + 0.5 })) circle.setAttribute(name, value);
  group.append(circle);
}

function paint(event) {
  const pixel = pixelAt(event);
  const last = stroke.at(-1);
  if (!pixel || (last && Math.hypot(pixel[0] - last[0], pixel[1] - last[1]) < brush() / 2)) return;
  stroke.push(pixel);
  dab(canvasAt(event), ...pixel, brush());
}

element.addEventListener("pointerdown", (event) => {
  if (!canvasAt(event) || event.button !== 0) return;
  event.target.setPointerCapture?.(event.pointerId);
  stroke = [];
  paint(event);
});
element.addEventListener("pointerup", () => {
  if (stroke?.length) trigger("input", { dabs: stroke.map((pixel) => pixel.join(",")).join(" ") });
  stroke = null;
});
element.addEventListener("pointercancel", () => (stroke = null));

element.addEventListener("click", (event) => {
  const button = event.target.closest("button.sg-zoom");
  if (button) {
    page.zoom = Number(button.dataset.zoom);
    page.centre = [page.y, page.x];
    draw();
    document.dispatchEvent(new Event("sg-zoomed"));
    return;
  }
  const pixel = canvasAt(event) ? null : pixelAt(event);
  if (pixel) select(...pixel);
});

element.addEventListener("keydown", (event) => {
  if (event.key === " " && canvasAt(event)) {
    event.preventDefault();
    dab(canvasAt(event), page.y, page.x, brush());
    trigger("input", { dabs: `${page.y},${page.x}` });
    return;
  }
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  const svg = event.target.closest?.("svg.sg-linked");
  if (!step || !svg) return;
  event.preventDefault();
  const [height, width] = sizeOf(svg);
  const by = event.shiftKey ? 10 : 1;
  select(clamp(page.y + step[0] * by, 0, height - 1), clamp(page.x + step[1] * by, 0, width - 1));
});

element.addEventListener("pointermove", (event) => {
  if (stroke) paint(event);
  const pixel = pixelAt(event);
  for (const svg of linked()) {
    const [height, width] = sizeOf(svg);
    const path = pixel ? `M0 ${pixel[0] + 0.5}H${width}M${pixel[1] + 0.5} 0V${height}` : "";
    svg.querySelector(".sg-cross")?.setAttribute("d", path);
  }
});
element.addEventListener("pointerleave", () => {
  for (const cross of document.querySelectorAll(".sg-cross")) cross.setAttribute("d", "");
});

function read() {
  const figure = element.querySelector("[data-key]");
  const fresh = figure !== null && figure.dataset.key !== page.key;
  if (figure?.dataset.stride) page.stride = Number(figure.dataset.stride);
  if (fresh) {
    page.key = figure.dataset.key;
    page.zoom = Number(figure.dataset.zoom);
    page.asked = null;
    [page.y, page.x] = [Number(figure.dataset.row), Number(figure.dataset.column)];
  }
  // where a page says for all its parts which pixel of which image is selected, that counts
  const where = document.querySelector(".sg-where");
  const told = where === null ? element.querySelector("[data-y]") : where.dataset.key === page.key ? where : null;
  if (told) {
    const [y, x] = [Number(told.dataset.y), Number(told.dataset.x)];
    const answered = page.asked && y === page.asked.y && x === page.asked.x;
    const moved = y !== page.y || x !== page.x;
    if (answered) page.asked = null;
    if (answered && moved && !fresh) ask();
    else if (!waiting()) [page.y, page.x] = [y, x]; // else an old answer, which must not take a later step back
  }
  const canvas = element.querySelector('[data-figure="canvas"] svg.sg-linked');
  if (canvas && !stroke && where) {
    canvas.querySelector(".sg-dabs")?.remove();
    for (const one of (where.dataset.dabs ?? "").split(" ")) if (one) dab(canvas, ...one.split(",").map(Number));
  }
  if (fresh) {
    page.centre = [page.y, page.x];
    document.dispatchEvent(new Event("sg-zoomed"));
  }
  keepInView();
  draw();
}
watch("value", read);
const again = () => (element.isConnected ? read() : document.removeEventListener("sg-where", again));
document.addEventListener("sg-where", again);
read();
