/** Cuts tracks and live streams into windows, as `inference/windows.py` and `streaming/stream.py`. */

import { MuqrtError } from "../types.ts";
import type { Framing } from "./site.ts";

// Peak of what counts as silence: -80 dB of full scale.
const SILENCE_PEAK = 10 ** (-80 / 20);

export interface Window {
  /** Where it begins in its track, in steps. */
  startStep: number;
  waveform: Float32Array;
}

/** A window of a track, and where the stretch that it stands for begins, in steps. */
export interface TrackWindow extends Window {
  keptFrom: number;
}

export function isSilent(waveform: Float32Array): boolean {
  for (let i = 0; i < waveform.length; i++) if (Math.abs(waveform[i]!) > SILENCE_PEAK) return false;
  return true;
}

/** How many steps the model gives for this many samples. */
export function stepsOf(framing: Framing, samples: number): number {
  const hops = Math.floor(samples / framing.hop_samples);
  return Math.ceil(hops / (framing.step_samples / framing.hop_samples));
}

/** Half-overlapping windows of a whole track; the last one is moved back so that it is full. */
export function* trackWindows(
  track: Float32Array,
  framing: Framing,
  windowSeconds: number,
): Generator<TrackWindow> {
  const { step_samples: step, sample_rate_hz: rate } = framing;
  requireLength(framing, track.length);
  const windowSteps = rounded((windowSeconds * rate) / step);
  const stride = Math.max(1, rounded((windowSeconds * rate) / step / 2));
  const last = Math.ceil(Math.max(0, track.length - windowSteps * step) / step);
  let keptFrom = 0;
  for (let start = 0; ; ) {
    const waveform = track.subarray(start * step, (start + windowSteps) * step);
    yield { startStep: start, waveform, keptFrom };
    if (start === last) return;
    const following = Math.min(start + stride, last);
    keptFrom = Math.floor((following + start + stepsOf(framing, waveform.length)) / 2);
    start = following;
  }
}

/** How windows slide over a stream: one ends with every hop, at the last whole step before it. */
export class Sliding {
  readonly hopSamples: number;
  readonly windowSteps: number;
  readonly firstSteps: number;

  constructor(
    readonly framing: Framing,
    windowSeconds: number,
    hopSeconds: number,
    firstSeconds: number,
  ) {
    const { sample_rate_hz: rate, step_samples: step, minimum_samples: minimum } = framing;
    if (!(hopSeconds >= step / rate && hopSeconds <= windowSeconds)) {
      throw new MuqrtError(
        `a hop of ${hopSeconds} s; it must be ${step / rate} s at least, and at most the ` +
          `window's ${windowSeconds} s.`,
      );
    }
    if (!(firstSeconds > 0)) {
      throw new MuqrtError(`a first answer after ${firstSeconds} s; that must be above 0.`);
    }
    const shortest = Math.ceil(minimum / step);
    const steps = (seconds: number) => Math.max(shortest, rounded((seconds * rate) / step));
    this.windowSteps = steps(windowSeconds);
    this.firstSteps = steps(Math.min(firstSeconds, windowSeconds));
    this.hopSamples = rounded(hopSeconds * rate);
  }

  /** The number of hops once the next window has ended, and where it ends, in steps. */
  following(hops: number): [hops: number, endStep: number] {
    const { step_samples: step } = this.framing;
    const next = Math.max(hops + 1, Math.ceil((this.firstSteps * step) / this.hopSamples));
    return [next, Math.floor((next * this.hopSamples) / step)];
  }
}

/** The windows of one stream; holds a window's samples, whatever the stream's age. */
export class SlidingWindows {
  private samples = new Float32Array(0);
  /** Which sample of the stream `samples` begins with. */
  private start = 0;
  private hops = 0;
  private endStep = 0;
  private ended = false;

  constructor(private readonly sliding: Sliding) {}

  append(block: Float32Array): void {
    const joined = new Float32Array(this.samples.length + block.length);
    joined.set(this.samples);
    joined.set(block, this.samples.length);
    this.samples = joined;
  }

  /** End the stream; its last window ends where it does. */
  end(): void {
    this.ended = true;
    requireLength(this.sliding.framing, this.stop);
  }

  /** The next window that has ended, in order; undefined until more is appended. */
  next(): Window | undefined {
    const step = this.sliding.framing.step_samples;
    const [hops, endStep] = this.sliding.following(this.hops);
    let stop = this.stop;
    if (endStep * step <= stop) {
      [stop, this.hops, this.endStep] = [endStep * step, hops, endStep];
    } else if (this.ended && stop > this.endStep * step) {
      this.endStep = Math.ceil(stop / step);
    } else {
      return undefined;
    }
    const startStep = Math.max(0, this.endStep - this.sliding.windowSteps);
    // No window to come begins before this one.
    this.samples = this.samples.slice(startStep * step - this.start);
    this.start = startStep * step;
    return { startStep, waveform: this.samples.slice(0, stop - this.start) };
  }

  private get stop(): number {
    return this.start + this.samples.length;
  }
}

export function requireLength(framing: Framing, samples: number): void {
  if (samples >= framing.minimum_samples) return;
  const seconds = (count: number) => (count / framing.sample_rate_hz).toFixed(3);
  throw new MuqrtError(
    `too short: ${seconds(samples)} s; the model needs at least ` +
      `${seconds(framing.minimum_samples)} s.`,
  );
}

/** Rounded as Python does, half to even. */
function rounded(number: number): number {
  const floor = Math.floor(number);
  if (number - floor !== 0.5) return Math.round(number);
  return floor + (floor % 2);
}
