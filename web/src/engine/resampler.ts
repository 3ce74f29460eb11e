/** Resamples a stream with a filter whose rows were measured on soxr, which Python resamples with. */

import type { Filter } from "./site.ts";

/** A filter with its numbers: `up` rows of `taps`, and `start_outputs` rows of `start_inputs`. */
export interface LoadedFilter extends Filter {
  rows: Float64Array;
  start: Float64Array;
}

export function loadedFilter(filter: Filter, bytes: ArrayBuffer): LoadedFilter {
  const numbers = new Float64Array(bytes);
  const end = filter.up * filter.taps;
  return { ...filter, rows: numbers.subarray(0, end), start: numbers.subarray(end) };
}

/**
 * One stream of mono samples to the model's rate.
 *
 * Its blocks joined are what soxr gives for the whole stream, nearly every sample to the last bit.
 * Output n stands at input n * down / up; its row is the remainder's, aligned with the quotient's
 * sample.
 */
export class Resampler {
  private held: Float32Array<ArrayBufferLike>;
  /** Which sample of the stream `held` begins with. */
  private heldStart: number;
  private inputs = 0;
  private outputs = 0;
  /** The stream's first samples, which its first outputs depend on in a way of their own. */
  private readonly first: Float32Array;

  /** @param filter undefined for samples that are at the model's rate already. */
  constructor(private readonly filter: LoadedFilter | undefined) {
    // Before its beginning a stream is zeros.
    this.held = new Float32Array(filter?.before ?? 0);
    this.heldStart = -this.held.length;
    this.first = new Float32Array(filter?.start_inputs ?? 0);
  }

  /** The samples that are complete now, perhaps none. */
  push(block: Float32Array): Float32Array {
    if (this.filter === undefined) return block;
    if (this.inputs < this.first.length) {
      this.first.set(block.subarray(0, this.first.length - this.inputs), this.inputs);
    }
    this.inputs += block.length;
    const after = this.filter.taps - 1 - this.filter.before;
    return this.compute(this.filter, block, this.outputsBefore(this.filter, this.inputs - after));
  }

  /** The last samples, once the stream has ended: `round(inputs * up / down)` in all. */
  finish(): Float32Array {
    if (this.filter === undefined) return new Float32Array(0);
    const { up, down, taps } = this.filter;
    const total = Math.floor((2 * this.inputs * up + down) / (2 * down));
    return this.compute(this.filter, new Float32Array(taps), total);
  }

  /** How many outputs are aligned with samples before this one. */
  private outputsBefore({ up, down }: Filter, input: number): number {
    return Math.max(0, Math.ceil((input * up) / down));
  }

  private compute(filter: LoadedFilter, block: Float32Array, stop: number): Float32Array {
    const { up, down, taps, before, rows } = filter;
    const samples = new Float32Array(this.held.length + block.length);
    samples.set(this.held);
    samples.set(block, this.held.length);
    const found = new Float32Array(Math.max(0, stop - this.outputs));
    for (let i = 0; i < found.length; i++) {
      const position = (this.outputs + i) * down;
      const aligned = Math.floor(position / up);
      const row = (position - aligned * up) * taps;
      const first = aligned - before - this.heldStart;
      found[i] = dot(rows, row, samples, first, taps) + this.atStart(filter, this.outputs + i);
    }
    this.outputs += found.length;
    const kept = Math.floor((this.outputs * down) / up) - before - this.heldStart;
    this.held = samples.slice(kept);
    this.heldStart += kept;
    return found;
  }

  private atStart({ start, start_outputs, start_inputs }: LoadedFilter, output: number): number {
    if (output >= start_outputs) return 0;
    return dot(start, output * start_inputs, this.first, 0, start_inputs);
  }
}

/** Four sums: a single one would wait for each addition. */
function dot(a: Float64Array, i: number, b: Float32Array, j: number, length: number): number {
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  let k = 0;
  for (; k + 3 < length; k += 4) {
    s0 += a[i + k]! * b[j + k]!;
    s1 += a[i + k + 1]! * b[j + k + 1]!;
    s2 += a[i + k + 2]! * b[j + k + 2]!;
    s3 += a[i + k + 3]! * b[j + k + 3]!;
  }
  for (; k < length; k++) s0 += a[i + k]! * b[j + k]!;
  return s0 + s1 + (s2 + s3);
}
