/** Brings samples to the model's rate, mixed down and resampled as in Python. */

import { MuqrtError, type Samples } from "../types.ts";
import { DownMix } from "./mix.ts";
import { type LoadedFilter, loadedFilter, Resampler } from "./resampler.ts";
import type { Site, SiteFiles } from "./site.ts";

// As many samples at once as the decoders in Python give: how channels are mixed depends on it.
const BLOCK_SAMPLES = 16_384;

export class ModelRate {
  private readonly filters = new Map<number, LoadedFilter>();

  constructor(
    private readonly site: Pick<Site, "framing" | "filters">,
    private readonly files: SiteFiles,
  ) {}

  /** All of a track. */
  async whole({ channels, rateHz }: Samples, signal: AbortSignal): Promise<Float32Array> {
    requireChannels(channels);
    const resampler = new Resampler(await this.filter(rateHz));
    const mix = new DownMix();
    const samples = channels[0]!.length;
    const rate = this.site.framing.sample_rate_hz;
    const found = new Float32Array(Math.ceil((samples * rate) / rateHz) + 1);
    let length = 0;
    const add = (block: Float32Array) => {
      found.set(block, length);
      length += block.length;
    };
    for (let start = 0; start < samples; start += BLOCK_SAMPLES) {
      signal.throwIfAborted();
      const block = channels.map((each) => each.subarray(start, start + BLOCK_SAMPLES));
      add(resampler.push(mix.push(block)));
    }
    add(resampler.finish());
    return found.subarray(0, length);
  }

  /** The filter from this rate, fetched once; undefined for the model's own. */
  async filter(rateHz: number): Promise<LoadedFilter | undefined> {
    if (rateHz === this.site.framing.sample_rate_hz) return undefined;
    const known = this.filters.get(rateHz);
    if (known !== undefined) return known;
    const filter = this.site.filters.find((each) => each.rate_hz === rateHz);
    if (filter === undefined) {
      const rates = this.site.filters.map((each) => each.rate_hz).join(", ");
      throw new MuqrtError(
        `a sample rate of ${rateHz} Hz; this site has filters for ${rates}. ` +
          "Convert the audio to 48000 Hz.",
      );
    }
    const bytes = await this.files.bytes(filter.file);
    const loaded = loadedFilter(filter, bytes.buffer);
    this.filters.set(rateHz, loaded);
    return loaded;
  }
}

export function requireChannels(channels: Float32Array[]): void {
  const lengths = new Set(channels.map((each) => each.length));
  if (lengths.size !== 1 || lengths.has(0)) {
    throw new MuqrtError("no samples, or channels of different lengths.");
  }
  if (!channels.every((channel) => channel.every(Number.isFinite))) {
    throw new MuqrtError("samples that are not finite numbers.");
  }
}
