// What stored.py packed. Every number is a whole multiple of a step, its four bytes in four planes.

const CAN_UNPACK = typeof DecompressionStream === "function";

/** Base64 -> {facts..., arrays: name -> {shape, data}}; data is a Float64Array. */
async function unpack(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const facts = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  for (const array of Object.values(facts.arrays)) {
    const count = array.shape.reduce((a, b) => a * b, 1);
    const planes = bytes.subarray(4 + length + array.at, 4 + length + array.at + 4 * count);
    array.data = new Float64Array(count);
    for (let n = 0; n < count; n++) {
      const steps = planes[n] | (planes[n + count] << 8) | (planes[n + 2 * count] << 16) | (planes[n + 3 * count] << 24);
      array.data[n] = steps * array.step;
    }
  }
  return facts;
}
