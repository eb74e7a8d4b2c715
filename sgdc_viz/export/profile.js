// Values along the line that crosses the nearest outline, as sgdc_viz/views/boundary_profile.py reads them.

/** A map read at image positions, bilinear between the centres of its pixels; NaN outside. */
function sample({ shape: [rows, columns], data }, points, stride) {
  return points.map(([y, x]) => {
    const [v, u] = [y / stride, x / stride];
    if (v < 0 || u < 0 || v > rows || u > columns) return NaN;
    const [b, a] = [clampTo(v - 0.5, 0, rows - 1), clampTo(u - 0.5, 0, columns - 1)];
    const [i, j] = [Math.min(Math.floor(b), Math.max(rows - 2, 0)), Math.min(Math.floor(a), Math.max(columns - 2, 0))];
    const [down, right] = [b - i, a - j];
    const at = (m, n) => data[Math.min(m, rows - 1) * columns + Math.min(n, columns - 1)];
    return (1 - down) * ((1 - right) * at(i, j) + right * at(i, j + 1)) + down * ((1 - right) * at(i + 1, j) + right * at(i + 1, j + 1));
  });
}

/** Where a profile goes through 0.5 nearest to distance 0, and its slope there; null if it never does. */
function crossing(distance, probability) {
  let best = null;
  for (let n = 0; n + 1 < distance.length; n++) {
    const [a, b] = [probability[n] - 0.5, probability[n + 1] - 0.5];
    if (a > 0 === b > 0 || !Number.isFinite(a + b) || a === b) continue;
    const width = distance[n + 1] - distance[n];
    const found = { at: distance[n] + (width * a) / (a - b), slope: Math.abs(b - a) / width };
    if (best === null || Math.abs(found.at) < Math.abs(best.at)) best = found;
  }
  return best;
}

/** The line across the outline nearest to a pixel, and everything read along it; null where there is no outline. */
function readProfile(picture, y, x) {
  const { normal, normals, labels } = picture.arrays;
  if (normal === undefined) return null;
  const [py, px, dy, dx, label] = normals.data.slice(5 * normal.data[y * picture.width + x]);
  const count = Math.floor(FACTS.profile.reach / FACTS.profile.step);
  const distance = Array.from({ length: 2 * count + 1 }, (_, n) => (n - count) * FACTS.profile.step);
  const points = distance.map((d) => [py + dy * d, px + dx * d]);
  const read = {};
  for (const name of Object.keys(picture.share)) {
    read[name] = {};
    for (const [key] of FACTS.profile.quantities) {
      const map = picture.arrays[`${name}.${key}`];
      if (map) read[name][key] = sample(map, points, key === "probability" ? 1 : picture.stride);
    }
  }
  const met = distance.filter((_, n) => {
    const [row, column] = points[n].map(Math.floor);
    if (row < 0 || column < 0 || row >= picture.height || column >= picture.width) return false;
    return ![0, Math.round(label)].includes(Math.round(labels.data[row * picture.width + column]));
  });
  const neighbour = met.length ? met.reduce((a, b) => (Math.abs(b) < Math.abs(a) ? b : a)) : null;
  return { point: [py, px], distance, points, read, grey: sample(picture.arrays.grey, points, 1), neighbour };
}

/** One sentence: where the networks' masks end. */
function crossingMessage(crossings, contourIs, isTruth) {
  const places = crossings.map(([name, at]) => [name, at === null ? null : Math.round(10 * at.at) / 10]);
  const told = ([name, at]) =>
    at === null ? `${name} never crosses 0.5`
    : at === 0 ? `${name} crosses 0.5 on the ${contourIs}`
    : `${name} crosses 0.5 at ${Math.abs(at).toFixed(1)} px ${at > 0 ? "outside" : "inside"} the ${contourIs}`;
  const [[first, a], [second, b]] = places;
  const text = `Here ${places.map(told).join(", ")}`;
  if (a === null || b === null) return `${text}.`;
  const apart = Math.abs(b - a);
  if (!isTruth) return `${text}: ${apart.toFixed(1)} px apart; which is right is not known without truth.`;
  const ahead = Math.abs(b) - Math.abs(a);
  const { same } = FACTS.profile;
  if (apart < same) return `${text}: the same within ${same} px.`;
  if (Math.abs(ahead) < same) return `${text}: equally far from the outline (${apart.toFixed(1)} px apart, on opposite sides).`;
  return `${text}: ${ahead > 0 ? first : second} is nearer by ${Math.abs(ahead).toFixed(1)} px.`;
}

// --- drawing ---

/** lines: [{name, values, style}] over distance. */
function chartHtml(title, unit, distance, lines, [low, high], alt) {
  const { wide, high: tall, left, right, top, bottom } = FACTS.chart;
  const [first, last] = [distance[0], distance[distance.length - 1]];
  const across = (d) => left + ((d - first) / (last - first)) * (wide - left - right);
  const down = (v) => clampTo(tall - bottom - ((v - low) / (high - low)) * (tall - top - bottom), top, tall - bottom);
  const foot = tall - bottom;
  const text = (x, y, words, anchor, more = "") => `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}"${more}>${escaped(words)}</text>`;
  const parts = [text(left, 14, title, "start", ' class="sg-strong"')];
  for (const v of niceTicks(low, high))
    parts.push(`<path class="sg-rule" d="M${left} ${down(v).toFixed(1)}H${wide - right}"/>`, text(left - 5, down(v) + 4, tickText(v), "end"));
  parts.push(`<path class="sg-edge" d="M${left} ${top}V${foot}H${wide - right}"/>`);
  for (const d of [-10, -5, 0, 5, 10]) parts.push(`<path class="sg-edge" d="M${across(d).toFixed(1)} ${foot}v4"/>`, text(across(d), foot + 16, tickText(d), "middle"));
  parts.push(`<path class="sg-zero" d="M${across(0)} ${top}V${foot}"/>`, text(across(0) + 3, top + 8, "outline", "start", ' class="sg-name"'));
  for (const { name, values, style } of lines) {
    const look = FACTS.series[style];
    let path = "", drawing = false, marks = "";
    values.forEach((v, n) => {
      if (!Number.isFinite(v)) return (drawing = false);
      path += `${drawing ? "L" : "M"}${across(distance[n]).toFixed(1)} ${down(v).toFixed(1)}`;
      drawing = true;
      if (n % 8 === (2 * style) % 8)
        marks += `<path d="${look.shape}" transform="translate(${across(distance[n]).toFixed(1)} ${down(v).toFixed(1)})" fill="${look.open ? "none" : look.colour}" stroke="${look.colour}"/>`;
    });
    parts.push(`<g><title>${escaped(name)}</title><path d="${path}" fill="none" stroke="${look.colour}" stroke-width="2" stroke-dasharray="${look.dashes}"/>${marks}</g>`);
  }
  parts.push(text((left + wide - right) / 2, tall - 8, "px from the outline, inside < 0", "middle"));
  const middle = (top + foot) / 2;
  parts.push(text(12, middle, unit, "middle", ` transform="rotate(-90 12 ${middle})"`));
  return `<svg class="sg-chart" role="img" aria-label="${escaped(alt)}" viewBox="0 0 ${wide} ${tall}">${parts.join("")}</svg>`;
}

/** [low, high] around all finite values, with a little air. */
function paddedRange(...lists) {
  const known = lists.flat().filter(Number.isFinite);
  if (!known.length) return [0, 1];
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const air = high - low > 1e-9 ? 0.06 * (high - low) : Math.max(Math.abs(high), 1e-3) / 2;
  return [low - air, high + air];
}

/** An arrow from the first to the last of the points, as an SVG path. */
function arrow(points) {
  const [[y0, x0], [y1, x1]] = [points[0], points[points.length - 1]];
  const length = Math.hypot(y1 - y0, x1 - x0);
  const [ay, ax] = [(y1 - y0) / length, (x1 - x0) / length];
  const wing = (side) => `${(x1 - 2.5 * (ax + side * 0.6 * ay)).toFixed(2)} ${(y1 - 2.5 * (ay - side * 0.6 * ax)).toFixed(2)}`;
  return `M${x0.toFixed(2)} ${y0.toFixed(2)}L${x1.toFixed(2)} ${y1.toFixed(2)}M${wing(1)}L${x1.toFixed(2)} ${y1.toFixed(2)}L${wing(-1)}`;
}

/** Draw the profile at a pixel; returns a sentence about it. */
function drawProfile(figure, picture, y, x) {
  const put = (selector, text) => (figure.querySelector(selector).textContent = text);
  const profile = readProfile(picture, y, x);
  if (profile === null) {
    put(".sg-message", "There is no outline in this picture: no truth is known, and no mask has an edge.");
    return "No outline to cross.";
  }
  const { distance, read } = profile;
  const names = Object.keys(read);
  const crossings = names.map((name) => [name, crossing(distance, read[name].probability)]);
  const message = crossingMessage(crossings, picture.contourIs, picture.isTruth);
  const middle = (distance.length - 1) / 2;
  const charts = FACTS.profile.quantities.map(([key, title, unit]) => {
    const lines = names.map((name, style) => ({ name, style, values: read[name][key] })).filter((line) => line.values);
    const at = lines.map((line) => `${line.name} ${number(line.values[middle], 2)}`).join("; ");
    const range = key === "probability" ? [-0.03, 1.03] : paddedRange(...lines.map((line) => line.values));
    return chartHtml(title, unit, distance, lines, range, `${title} at the ${picture.contourIs}: ${at}.`);
  });
  const grey = profile.grey.filter(Number.isFinite);
  charts.push(chartHtml("Image", "mean of red, green, blue, 0..1", distance, [{ name: "image", values: profile.grey, style: FACTS.profile.imageStyle }],
    paddedRange(profile.grey), `The image along the line, ${number(Math.min(...grey))} to ${number(Math.max(...grey))}.`));
  figure.querySelector(".ex-charts").innerHTML = charts.join("");
  put(".sg-message", message);
  put(".ex-line", `The ${picture.contourIs} nearest to row ${y}, column ${x} passes row ${profile.point[0].toFixed(1)}, column ${profile.point[1].toFixed(1)}; the line crosses it at a right angle, negative inside, positive outside.`
    + (profile.neighbour === null ? "" : ` It meets another object ${number(profile.neighbour, 2)} px from the outline.`));
  const rows = crossings.map(([name, at]) => `<tr><td>${escaped(name)}</td><td>${at === null ? "nowhere near" : signed(at.at)}</td><td>${at === null ? "" : number(at.slope, 2)}</td></tr>`);
  figure.querySelector(".sg-table tbody").innerHTML = rows.join("");
  for (const line of figure.querySelectorAll(".ex-normal")) line.setAttribute("d", arrow(profile.points));
  return message;
}
