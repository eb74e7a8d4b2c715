// Numbers, colours and text, written as sgdc_viz/views/style.py does.

const clampTo = (value, low, high) => Math.max(low, Math.min(high, value));
const sum = (values) => values.reduce((a, b) => a + b, 0);
const escaped = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

/** A value with so many significant digits, a true minus sign and no "-0". */
function number(value, digits = 3) {
  if (Number.isNaN(value)) return "undefined";
  const size = Math.abs(value);
  if (size < 1e-12) return "0";
  const text =
    size >= 1e4 || size < 1e-3
      ? value.toExponential(1).replace("e+", "e")
      : value.toFixed(Math.max(0, digits - 1 - Math.floor(Math.log10(size))));
  return text.replaceAll("-", FACTS.minus);
}

/** A change, always with its sign. */
const signed = (value) => (value > 0 && number(value, 2) !== "0" ? `+${number(value, 2)}` : number(value, 2));

/** What colours mean: values from low to high take the colours of a table; power 0.5 brings out small ones. */
const scaleOf = (low, high, colours, power = 1) => ({ low, high, colours: FACTS.colours[colours], power });

function colourOf(scale, value) {
  const place = clampTo((value - scale.low) / (scale.high - scale.low), 0, 1) ** scale.power;
  return scale.colours[Math.round(255 * place)];
}

/** The values at both ends and in the middle of a colour bar, as written there. */
function ticksOf({ low, high, power }) {
  const middle = low + 0.5 ** (1 / power) * (high - low);
  const places = Math.max(0, 1 - Math.floor(Math.log10(middle - low)));
  const short = (value) => {
    if (value !== 0 && places > 6) return number(value, 2);
    const text = (Number(value.toFixed(places)) + 0).toFixed(places);
    return (text.includes(".") ? text.replace(/0+$/, "").replace(/\.$/, "") : text).replaceAll("-", FACTS.minus);
  };
  return [low, middle, high].map(short);
}

/** A step in a grid in words: (-1, 2) -> "1 up, 2 right". */
function direction(dy, dx) {
  const words = [];
  if (dy) words.push(`${Math.abs(dy)} ${dy < 0 ? "up" : "down"}`);
  if (dx) words.push(`${Math.abs(dx)} ${dx < 0 ? "left" : "right"}`);
  return words.join(", ") || "centre";
}

/** Round numbers inside [low, high], about four. */
function niceTicks(low, high) {
  const power = 10 ** Math.floor(Math.log10((high - low) / 4));
  const step = [1, 2, 2.5, 5, 10, 20].map((n) => n * power).find((n) => (high - low) / n <= 4);
  const ticks = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + 1e-9 * step; n++) ticks.push(n * step);
  return ticks;
}

const tickText = (value) => String(Number(value.toFixed(10)) + 0).replaceAll("-", FACTS.minus);
