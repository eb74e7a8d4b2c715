// The page's state is in its address, #image=...&y=..&x=..&p=..; every view is drawn from it.

const $ = (id) => document.getElementById(id);
const slot = (id) => document.querySelector(`#${id} .ex-slot`);
const state = { image: null, y: 0, x: 0, p: "8", channel: null };
const pictures = new Map(); // key -> promise of an unpacked picture
let shown = null; // the picture that the page shows
let readLinks = () => {}; // of linked.js: move marks to where #where says

// --- the address ---

function asked() {
  const words = new URLSearchParams(location.hash.slice(1));
  const whole = (name) => (/^\d{1,5}$/.test(words.get(name) ?? "") ? Number(words.get(name)) : null);
  return { image: words.get("image"), y: whole("y"), x: whole("x"), p: words.get("p"), channel: whole("channel") };
}

function writeAddress() {
  const words = new URLSearchParams({ image: state.image, y: state.y, x: state.x, p: state.p });
  if (state.channel !== null) words.set("channel", state.channel);
  if (location.hash.slice(1) !== String(words)) history.replaceState(null, "", `#${words}`);
}

// --- pictures ---

/** Called behind the data of each picture: the first one (or the one asked for) is shown as soon as it is there. */
function arrived(key) {
  const wanted = FACTS.keys.includes(asked().image) ? asked().image : FACTS.keys[0];
  if (shown === null && key === wanted) open(key, asked());
}

function complete() {
  if (!CAN_UNPACK) trouble("This browser is too old to unpack the pictures (it lacks DecompressionStream): use Firefox 113, Chrome or Edge 80, Safari 16.4, or a newer one.");
}

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = false;
}

function load(key) {
  if (!pictures.has(key)) pictures.set(key, unpack($(`data-${key}`).textContent));
  return pictures.get(key);
}

/** Show a picture; at: {y, x, p, channel}, what it leaves out is the picture's own pixel and what is shown now. */
async function open(key, at = {}) {
  if (!CAN_UNPACK) return;
  if ($(`data-${key}`) === null) return trouble("This picture is still on its way: try again in a moment.");
  state.image = key;
  let picture;
  try {
    picture = await load(key);
  } catch (error) {
    return trouble(`This picture cannot be unpacked (${error.message}): the file is damaged or incomplete, get it again.`);
  }
  if (state.image !== key) return; // another one was chosen meanwhile
  shown = picture;
  $("trouble").hidden = true;
  $("page").hidden = false;
  for (const [id, html] of Object.entries(picture.html)) {
    slot(id).innerHTML = html.replaceAll(FACTS.image, picture.image);
    slot(id).querySelector(".sg-title").remove(); // the section has it
  }
  preparePooling();
  prepareProfile();
  $("note").innerHTML = `${picture.outside ? `<strong>${escaped(picture.outside)}</strong> ` : ""}${escaped(picture.note)} ${escaped(picture.networks)}`;
  $("masks").textContent = picture.masks;
  $("image").value = key;
  $("row").max = picture.height - 1;
  $("column").max = picture.width - 1;
  const channels = picture.arrays["guided.context"].shape[0];
  if ($("channel").options.length !== channels + 1)
    $("channel").innerHTML = `<option value="">automatic: the largest value</option>${Array.from({ length: channels }, (_, c) => `<option value="${c}">${c}</option>`).join("")}`;
  const channel = at.channel === undefined ? state.channel : at.channel;
  state.channel = channel !== null && channel < channels ? channel : null;
  if (picture.steps.some((step) => step.name === at.p)) state.p = at.p;
  else if (!picture.steps.some((step) => step.name === state.p)) state.p = picture.steps[0].name;
  $("channel").value = state.channel ?? "";
  const [y, x] = [at.y ?? picture.pixel[0], at.x ?? picture.pixel[1]];
  drawPooling();
  select(y, x, true);
}

// --- one pixel ---

function select(y, x, move = false) {
  state.y = clampTo(Math.round(y), 0, shown.height - 1);
  state.x = clampTo(Math.round(x), 0, shown.width - 1);
  if (move) {
    for (const figure of document.querySelectorAll(".sg-figure[data-row]")) [figure.dataset.row, figure.dataset.column] = [state.y, state.x];
    Object.assign($("where").dataset, { key: shown.key, y: state.y, x: state.x });
    readLinks();
  }
  $("row").value = state.y;
  $("column").value = state.x;
  drawPixel();
  writeAddress();
}

function drawPixel() {
  const { y, x, channel } = state;
  const [i, j] = [Math.floor(y / shown.stride), Math.floor(x / shown.stride)];
  const names = Object.keys(shown.share);
  const views = names.map((name) => pixelView(shown, name, i, j));
  const kernels = drawKernels(slot("kernels").firstChild, shown, y, x, names, views);
  const sums = drawMicroscope(slot("microscope").firstChild, shown, y, x, i, j, names, views, channel);
  const profile = drawProfile(slot("profile").firstChild, shown, y, x);
  tell(`Row ${y}, column ${x}. ${kernels} ${sums} ${profile}`);
}

let waiting = 0;
/** To screen readers, once the pixel rests. */
function tell(text) {
  clearTimeout(waiting);
  waiting = setTimeout(() => ($("told").textContent = text), 500);
}

// --- the slider ---

function preparePooling() {
  const figure = slot("pooling").firstChild;
  $("size").max = shown.steps.length - 1;
  $("stops").innerHTML = shown.steps.map((step) => `<span>${escaped(step.name)}</span>`).join("");
  const lead = figure.querySelector(".sg-lead svg");
  lead.querySelector("image").insertAdjacentHTML("afterend", '<path class="sg-halo sg-thin ex-outline"/><path class="sg-line ex-mask ex-outline"/>');
  for (const chart of figure.querySelectorAll(".sg-strip svg")) chart.insertAdjacentHTML("beforeend", '<path class="sg-chosen-step"/>');
}

/** All pool sizes are there as rows, on one scale: show the guided network, the chosen one and the trained one. */
function drawPooling() {
  const figure = slot("pooling").firstChild;
  const chosen = Math.max(0, shown.steps.findIndex((step) => step.name === state.p));
  const step = shown.steps[chosen];
  const visible = new Set([0, chosen, shown.steps.length - 1]);
  for (const part of figure.querySelectorAll(".sg-row, .sg-cell")) {
    const row = (part.dataset.step ??= Number(part.style.getPropertyValue("--r")) - 2);
    part.classList.toggle("ex-gone", !visible.has(Number(row)));
    part.style.setProperty("--r", 2 + [...visible].indexOf(Number(row)));
  }
  for (const foot of figure.querySelectorAll(".sg-foot")) foot.style.setProperty("--r", 2 + visible.size);
  for (const line of figure.querySelectorAll(".ex-outline")) line.setAttribute("d", step.outline);
  const { top, high, bottom } = FACTS.chart;
  for (const line of figure.querySelectorAll(".sg-strip .sg-chosen-step")) line.setAttribute("d", `M${step.at} ${top}V${high - bottom}`);
  figure.querySelectorAll(".sg-table tbody tr").forEach((row, n) => row.classList.toggle("ex-now", n === chosen));
  $("stops").querySelectorAll("span").forEach((stop, n) => stop.classList.toggle("ex-now", n === chosen));
  figure.querySelector(".sg-message").textContent = step.message;
  figure.querySelector(".sg-summary").firstChild.data = `${step.summary} `;
  const what = step.retrained ? `${step.label}: trained this way` : chosen === 0 ? step.label : `${step.label}: not retrained`;
  $("size").value = chosen;
  $("size").setAttribute("aria-valuetext", what);
  $("size-told").textContent = what;
  return `${what}. ${step.message}`;
}

// --- the profile ---

function prepareProfile() {
  const figure = slot("profile").firstChild;
  figure.querySelector(".sg-body").insertAdjacentHTML("beforeend", '<div class="ex-charts"></div>');
  figure.querySelector(".sg-lead .sg-cross").insertAdjacentHTML("beforebegin", '<path class="sg-halo sg-thin ex-normal"/><path class="sg-line sg-normal sg-thin ex-normal"/>');
  figure.querySelector(".sg-summary").insertAdjacentHTML("beforebegin",
    '<table class="sg-table"><thead><tr><th scope="col">network</th><th scope="col">crosses 0.5 at (px from the outline)</th><th scope="col">steepness there (probability a px)</th></tr></thead><tbody></tbody></table><p class="sg-summary ex-line"></p>');
}

// --- what people do ---

link($("page"), (_, { index: [x, y] }) => {
  Object.assign($("where").dataset, { key: shown.key, y, x });
  select(y, x);
  readLinks(); // answered at once
}, (_, read) => (readLinks = read));

$("controls").addEventListener("submit", (event) => event.preventDefault());
$("image").addEventListener("change", () => open($("image").value, {}));
for (const id of ["row", "column"])
  $(id).addEventListener("change", () => {
    const [y, x] = [$("row").valueAsNumber, $("column").valueAsNumber];
    if (Number.isFinite(y) && Number.isFinite(x)) select(y, x, true);
    else [$("row").value, $("column").value] = [state.y, state.x];
  });
$("channel").addEventListener("change", () => {
  state.channel = $("channel").value === "" ? null : Number($("channel").value);
  drawPixel();
  writeAddress();
});
$("size").addEventListener("input", () => {
  state.p = shown.steps[$("size").valueAsNumber].name;
  tell(drawPooling());
  writeAddress();
});
window.addEventListener("hashchange", () => {
  const at = asked();
  open(FACTS.keys.includes(at.image) ? at.image : state.image ?? FACTS.keys[0], at);
});
