/** Mixes a stream's channels down to mono, as `runtime/audio/down_mix.py` does. */

// A mix this far below its channels is what is left of channels that cancel each other: -30 dB.
const CANCELLED_POWER = 10 ** (-30 / 10);
const MEMORY_SAMPLES = 16_384;
const FEWEST_SAMPLES = 2_048;

/** Averages channels; of channels that cancel each other it takes the louder one. */
export class DownMix {
  private channel: number | undefined;
  private knownSamples = 0;
  private mixPower = 0;
  private powers: number[] = [];

  push(planes: readonly Float32Array[]): Float32Array {
    const [first, ...others] = planes;
    if (first === undefined) return new Float32Array(0);
    if (others.length === 0 || first.length === 0) return first;
    const mix = new Float32Array(first);
    for (const plane of others) for (let i = 0; i < mix.length; i++) mix[i]! += plane[i]!;
    for (let i = 0; i < mix.length; i++) mix[i]! /= planes.length;
    this.remember(mix, planes);
    if (!this.cancels) {
      this.channel = undefined;
      return mix;
    }
    this.channel ??= this.powers.indexOf(Math.max(...this.powers));
    return planes[this.channel]!;
  }

  private remember(mix: Float32Array, planes: readonly Float32Array[]): void {
    if (this.powers.length !== planes.length) {
      this.channel = undefined;
      this.knownSamples = this.mixPower = 0;
      this.powers = planes.map(() => 0);
    }
    const kept = Math.exp(-mix.length / MEMORY_SAMPLES);
    this.knownSamples += mix.length;
    this.mixPower = kept * this.mixPower + energy(mix);
    this.powers = this.powers.map((power, i) => kept * power + energy(planes[i]!));
  }

  private get cancels(): boolean {
    const mean = this.powers.reduce((sum, each) => sum + each, 0) / this.powers.length;
    return this.knownSamples >= FEWEST_SAMPLES && this.mixPower < CANCELLED_POWER * mean;
  }
}

function energy(samples: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < samples.length; i++) sum += samples[i]! * samples[i]!;
  return sum;
}
