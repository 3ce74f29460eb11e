/** The front end's frames of overlapping windows, each computed once: see `inference/frames.py`. */

import type { Framing } from "./site.ts";
import type { Window } from "./windows.ts";

// How many mel frames a step reads before and after its own, beyond one step's worth; and half an
// STFT window.
const CONVOLUTION_REACH = 5;
const PAD_SAMPLES = 1024;

/** Steps (steps, width), row by row. */
export interface Frames {
  values: Float32Array;
  width: number;
}

type Range = [start: number, stop: number];

/** Frames of the windows of one stream or track; holds those of the latest window. */
export class OverlappingFrames {
  private readonly reachSamples: number;
  private startStep = 0;
  private frames: Frames | undefined;
  /** Of the latest window, the steps that do not depend on its edges. */
  private inner: Range = [0, 0];

  constructor(
    private readonly framing: Framing,
    private readonly frontEnd: (waveform: Float32Array) => Promise<Frames>,
  ) {
    const reachFrames = framing.step_samples / framing.hop_samples + CONVOLUTION_REACH;
    this.reachSamples = reachFrames * framing.hop_samples + PAD_SAMPLES;
  }

  /** The frames of a window: what the front end gives for it alone, but for rounding. */
  async of({ startStep, waveform }: Window): Promise<Frames> {
    const step = this.framing.step_samples;
    const oldest = Math.ceil(this.reachSamples / step);
    const newest = Math.floor((waveform.length - this.reachSamples) / step);
    const inner: Range = [oldest, Math.max(oldest, newest + 1)];
    const moved = startStep - this.startStep;
    const known: Range = [
      Math.max(inner[0], this.inner[0] - moved),
      Math.min(inner[1], this.inner[1] - moved),
    ];
    // The samples of as many whole steps are cut out as only known steps have read on both sides.
    const spoiled = Math.ceil((2 * this.reachSamples) / step) - 1;
    const removed = known[1] - known[0] - spoiled;
    let found: Frames;
    if (this.frames === undefined || removed <= 0) {
      found = await this.frontEnd(waveform);
    } else {
      const cut = (known[0] - 1) * step + this.reachSamples;
      const newer = await this.frontEnd(
        joined(waveform.subarray(0, cut), waveform.subarray(cut + removed * step)),
      );
      const { values: held, width } = this.frames;
      const values = joined(
        newer.values.subarray(0, known[0] * width),
        held.subarray((known[0] + moved) * width, (known[1] + moved) * width),
        newer.values.subarray((known[1] - removed) * width),
      );
      found = { values, width };
    }
    [this.startStep, this.frames, this.inner] = [startStep, found, inner];
    return found;
  }

  /** Drop the held frames, so that the next window's are all computed anew. */
  forget(): void {
    this.frames = undefined;
  }
}

function joined(...parts: Float32Array[]): Float32Array {
  const found = new Float32Array(parts.reduce((sum, each) => sum + each.length, 0));
  let start = 0;
  for (const part of parts) {
    found.set(part, start);
    start += part.length;
  }
  return found;
}
