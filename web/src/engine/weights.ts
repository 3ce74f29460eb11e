/** Files of weights as the graphs expect them, from what a site stores. */

import type { Rounded, Weights } from "./site.ts";

/** The file that the graphs refer to, with zeros where they need nothing. */
export function placed(
  { total_bytes, offset, rounded = [] }: Weights,
  part: Uint8Array,
): Uint8Array {
  if (part.length === total_bytes && rounded.length === 0) return part;
  const whole = new Uint8Array(total_bytes);
  whole.set(part, offset);
  for (const each of rounded) restore(whole, each);
  return whole;
}

/** Make 16-bit numbers, first all their high bytes and then all low ones, weights again, in place. */
function restore(file: Uint8Array, { offset, bytes, type, exponent }: Rounded): void {
  const isHalf = type === "float16";
  const count = bytes / (isHalf ? 2 : 4);
  const high = file.slice(offset, offset + count);
  const low = file.slice(offset + count, offset + 2 * count);
  const step = 2 ** -exponent;
  const weights = new Float32Array(count);
  for (let i = 0; i < count; i++) weights[i] = (((high[i]! << 24) >> 16) | low[i]!) * step;
  file.set(new Uint8Array((isHalf ? halves(weights) : weights).buffer), offset);
}

/** float16 of numbers that it has exactly, at full precision: only the exponent's bias differs. */
function halves(weights: Float32Array): Uint16Array {
  const bits = new Uint32Array(weights.buffer);
  const found = new Uint16Array(bits.length);
  for (let i = 0; i < bits.length; i++) {
    const magnitude = bits[i]! & 0x7fffffff;
    const moved = magnitude === 0 ? 0 : (magnitude - (112 << 23)) >> 13;
    found[i] = ((bits[i]! >>> 16) & 0x8000) | moved;
  }
  return found;
}
