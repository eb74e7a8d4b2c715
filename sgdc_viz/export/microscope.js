// Kernels, gates and the sum at one pixel, made from what is stored of it (stored.py), and drawn.

const TAPS = 7; // k of the k x k kernels
const REACH = (TAPS - 1) / 2;
const sigmoid = (a) => 1 / (1 + Math.exp(-a));

/**
 * What a network's finest block does at feature pixel (i, j):
 * kernels [heads][49], gateStatic and gateDynamic [channels], patch [channels][49], summed, value and own [channels].
 */
function pixelView(picture, name, i, j) {
  const part = (key) => picture.arrays[`${name}.${key}`];
  const [channels, blockRows, blockColumns] = part("context").shape;
  const share = picture.share[name]; // pixels from side to side of a block with one context
  const at = Math.floor(i / share) * blockColumns + Math.floor(j / share);
  const context = Array.from({ length: channels }, (_, c) => part("context").data[c * blockRows * blockColumns + at]);

  // [a1, a2, L] = W c + b
  const mixed = Array.from(part("bias").data, (b, row) => b + sum(context.map((c, n) => part("weights").data[row * channels + n] * c)));
  const kernels = [];
  for (let from = 2 * channels; from < mixed.length; from += TAPS * TAPS) {
    const logits = mixed.slice(from, from + TAPS * TAPS);
    const largest = Math.max(...logits);
    const raised = logits.map((l) => Math.exp(l - largest));
    const total = sum(raised);
    kernels.push(raised.map((e) => e / total));
  }

  const [, rows, columns] = part("value").shape;
  const patch = Array.from({ length: channels }, (_, c) =>
    Array.from({ length: TAPS * TAPS }, (_, tap) => {
      const [y, x] = [i + Math.floor(tap / TAPS) - REACH, j + (tap % TAPS) - REACH];
      return y < 0 || x < 0 || y >= rows || x >= columns ? 0 : part("value").data[(c * rows + y) * columns + x];
    }),
  );
  const headOf = (c) => Math.floor((c * kernels.length) / channels);
  const summed = patch.map((values, c) => sum(values.map((v, tap) => v * kernels[headOf(c)][tap])));
  const gateDynamic = mixed.slice(channels, 2 * channels).map(sigmoid);
  const [, ownRows, ownColumns] = part("own").shape;
  return {
    kernels, patch, summed, gateDynamic, headOf,
    gateStatic: mixed.slice(0, channels).map(sigmoid),
    value: summed.map((s, c) => s * gateDynamic[c]),
    own: summed.map((_, c) => part("own").data[(c * ownRows + i) * ownColumns + j]),
  };
}

/** The channel with the largest mean |value| over the networks. */
function loudest(views) {
  const mean = views[0].value.map((_, c) => sum(views.map((view) => Math.abs(view.value[c]))));
  return mean.indexOf(Math.max(...mean));
}

/** How many neighbours a kernel effectively averages: exp of its entropy. */
const neighbours = (kernel) => Math.exp(-sum(kernel.map((p) => (p > 0 ? p * Math.log(p) : 0))));

function describeSpread(count, taps) {
  const share = count / taps;
  const words =
    count < 1.5 ? "almost a single neighbour" : share < 0.15 ? "a few neighbours" : share < 0.5 ? "a part of the window" :
    share < 0.9 ? "most of the window" : "all neighbours nearly alike";
  return `${words} (${number(count, 2)} of ${taps} on average)`;
}

function describeKernel(kernel) {
  const largest = Math.max(...kernel);
  const tap = kernel.indexOf(largest);
  const where = direction(Math.floor(tap / TAPS) - REACH, (tap % TAPS) - REACH);
  return `${number(neighbours(kernel), 2)} of ${kernel.length} neighbours count; the largest weight, ${number(largest)}, is at ${where}.`;
}

const kernelScale = (views) => scaleOf(0, Math.max(...views.flatMap((view) => view.kernels.flat())), "kernel", 0.5);

function signedScale(...values) {
  const high = Math.max(1e-6, ...values.flat().map(Math.abs));
  return scaleOf(-high, high, "signed");
}

// --- drawing ---

function heatHtml(values, scale, title, alt) {
  const cells = values.map((v, tap) => {
    const [y, x] = [Math.floor(tap / TAPS), tap % TAPS];
    return `<rect x="${x}" y="${y}" width="1.02" height="1.02" fill="${colourOf(scale, v)}"><title>${direction(y - REACH, x - REACH)}: ${number(v)}</title></rect>`;
  });
  const centre = `x="${REACH}" y="${REACH}" width="1" height="1"`;
  return `<div class="sg-heat"><svg class="sg-plane" role="img" aria-label="${escaped(alt)}" viewBox="0 0 ${TAPS} ${TAPS}">${cells.join("")}<rect class="sg-halo" ${centre}/><rect class="sg-line sg-centre" ${centre}/></svg><span>${escaped(title)}</span></div>`;
}

function barsHtml(values, chosen, alt) {
  const bars = values.map((v, c) => `<rect class="${c === chosen ? "sg-chosen" : "sg-plain"}" x="${c + 0.12}" y="${100 - 100 * v}" width="0.76" height="${100 * v}"><title>channel ${c}: ${number(v)}</title></rect>`);
  const lines = [0, 50, 100].map((y) => `<path class="sg-rule" d="M0 ${y}H${values.length}"/>`);
  const mark = `<path class="sg-chosen" d="M${chosen - 0.1} 106L${chosen + 1.1} 106L${chosen + 0.5} 101Z"/>`;
  const range = `from ${number(Math.min(...values))} to ${number(Math.max(...values))}, mean ${number(sum(values) / values.length)}.`;
  return `<div class="sg-bars"><div class="sg-axis" aria-hidden="true"><span>1</span><span>0.5</span><span>0</span></div><svg role="img" aria-label="${escaped(`${alt}: ${range}`)}" viewBox="0 -2 ${values.length} 110" preserveAspectRatio="none">${lines.join("")}${bars.join("")}${mark}</svg></div><div class="sg-unit">gate (0 shut, 1 open), one bar a channel</div>`;
}

/** The picture around the kernel's footprint, and the block that shares one kernel (if any). */
function whereHtml(picture, name, i, j) {
  const { stride, image, height, width } = picture;
  const side = TAPS * stride;
  const [y, x] = [(i - REACH) * stride, (j - REACH) * stride];
  const box = (css, y, x, side) => {
    const place = `x="${x}" y="${y}" width="${side}" height="${side}"`;
    return `<rect class="sg-halo" ${place}/><rect class="sg-line ${css}" ${place}/>`;
  };
  const share = picture.share[name];
  let boxes = box("sg-footprint", y, x, side);
  let alt = `The image around the selected pixel, ${name}. The solid box is what the kernel reaches`;
  if (share > 1) {
    const block = share * stride;
    boxes += box("sg-block", Math.floor(i / share) * block, Math.floor(j / share) * block, block);
    alt += "; all pixels of the dashed block share one kernel";
  }
  return `<svg class="sg-plane" role="img" aria-label="${escaped(alt)}." viewBox="${x - side} ${y - side} ${3 * side} ${3 * side}"><image href="${image}" x="0" y="0" width="${width}" height="${height}" preserveAspectRatio="none"/>${boxes}</svg>`;
}

/** Write new numbers under the colour bars of a figure's columns. */
function writeTicks(figure, scales) {
  figure.querySelectorAll(".sg-foot .sg-ticks").forEach((bar, n) => {
    const ticks = ticksOf(scales[n]);
    bar.querySelectorAll("span").forEach((span, m) => (span.textContent = ticks[m]));
  });
}

/** The kernels of all heads; returns a sentence about them. */
function drawKernels(figure, picture, y, x, names, views) {
  const scale = kernelScale(views);
  const told = views.map((view, n) => {
    const mean = sum(view.kernels.map(neighbours)) / view.kernels.length;
    return `${names[n]}: ${describeSpread(mean, TAPS * TAPS)}`;
  });
  figure.querySelectorAll(".sg-cell").forEach((cell, n) => {
    const heats = views[n].kernels.map((kernel, h) =>
      heatHtml(kernel, scale, `${h + 1}: ${number(neighbours(kernel), 2)} of ${kernel.length}`, `Kernel of head ${h + 1}, ${names[n]}: ${describeKernel(kernel)}`),
    );
    cell.innerHTML = `<div class="sg-many">${heats.join("")}</div>`;
  });
  writeTicks(figure, [scale]);
  figure.querySelector(".sg-message").textContent = `row ${y}, column ${x}`;
  figure.querySelector(".sg-summary").textContent = `Under each kernel: how many of its ${TAPS * TAPS} neighbours count. ${told.join("; ")}.`;
  return `Kernels: ${told.join("; ")}.`;
}

/** Neighbours x kernel = products, their sum, the gates; returns a sentence about them. */
function drawMicroscope(figure, picture, y, x, i, j, names, views, channel) {
  const c = channel ?? loudest(views);
  const head = views[0].headOf(c);
  const products = views.map((view) => view.patch[c].map((v, tap) => v * view.kernels[head][tap]));
  const scales = [signedScale(views.map((v) => v.patch[c]).flat()), kernelScale(views), signedScale(products.flat())];
  const cells = views.flatMap((view, n) => {
    const what = `${names[n]}, channel ${c}`;
    const lines = [
      `channel ${c}, head ${head + 1}`, `sum of ${TAPS * TAPS} products ${number(view.summed[c])}`,
      `× gate ${number(view.gateDynamic[c])}`, `= ${number(view.value[c])}`,
    ];
    return [
      whereHtml(picture, names[n], i, j),
      heatHtml(view.patch[c], scales[0], `channel ${c}`, `The neighbours of ${what}, normalised features.`),
      heatHtml(view.kernels[head], scales[1], `head ${head + 1}`, `Kernel of head ${head + 1}, ${names[n]}: ${describeKernel(view.kernels[head])}`),
      heatHtml(products[n], scales[2], `sum ${number(view.summed[c])}`, `Products of neighbours and kernel of ${what}; their sum is ${number(view.summed[c])}.`),
      `<div class="sg-words">${lines.map((line) => `<p>${escaped(line)}</p>`).join("")}<p><strong>network's own value ${number(view.own[c])}</strong></p></div>`,
      barsHtml(view.gateStatic, c, `Gates of the static branch, ${names[n]}`),
      barsHtml(view.gateDynamic, c, `Gates of the dynamic branch, ${names[n]}`),
    ];
  });
  figure.querySelectorAll(".sg-cell").forEach((cell, n) => (cell.innerHTML = cells[n]));
  writeTicks(figure, scales);
  const told = views.map((view, n) => `${names[n]}, channel ${c}: ${number(view.summed[c])} × ${number(view.gateDynamic[c])} = ${number(view.value[c])}; the network computed ${number(view.own[c])}`);
  const shared = names.filter((name) => picture.share[name] > 1)
    .map((name) => ` All pixels of the dashed ${picture.share[name] * picture.stride} px block share the ${name} kernels.`);
  const s = picture.stride;
  figure.querySelector(".sg-summary").firstChild.data =
    `Image row ${y}, column ${x} lies in feature pixel (${i}, ${j}); stride ${s}, so each tap is ${s} × ${s} image pixels. ${told.join(". ")}.${shared.join("")} `;
  return `Sum: ${told.join(". ")}.`;
}
