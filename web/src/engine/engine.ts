/** One loaded model: whole tracks and live streams. */

import {
  type Backend,
  type LoadOptions,
  type LoadProgress,
  type ModelInfo,
  MuqrtError,
  type Samples,
  type StreamEnd,
  type StreamOptions,
  type TrackTags,
  type TrackWindowTags,
  type Update,
} from "../types.ts";
import { TagEvents } from "./events.ts";
import { OverlappingFrames } from "./frames.ts";
import { DownMix } from "./mix.ts";
import { Network, type Parts } from "./network.ts";
import { ModelRate, requireChannels } from "./rate.ts";
import { Resampler } from "./resampler.ts";
import { type Site, SiteFiles } from "./site.ts";
import { doubt, reached, trackTags } from "./track.ts";
import { placed } from "./weights.ts";
import { isSilent, Sliding, SlidingWindows, trackWindows } from "./windows.ts";

const HOP_SECONDS = 0.5;
const FIRST_SECONDS = 2;
const LONGEST_CHUNK_SECONDS = 10;
const INT16_FULL_SCALE = 2 ** 15;

/** What can be sent to a worker of `LoadOptions`. */
export type EngineOptions = Pick<LoadOptions, "backend"> & { runtimeUrl?: string };

export class Engine {
  private constructor(
    private readonly site: Site,
    private readonly rate: ModelRate,
    private readonly network: Network,
    readonly info: ModelInfo,
  ) {}

  /** @param base the absolute address of the folder of `site.json`, ending with a slash. */
  static async load(
    base: string,
    options: EngineOptions,
    onProgress: (progress: LoadProgress) => void,
    signal: AbortSignal,
  ): Promise<Engine> {
    let totalBytes = 0;
    const files = new SiteFiles(base, signal, (loadedBytes) => {
      onProgress({ phase: "download", loadedBytes, totalBytes });
    });
    const site = await files.manifest();
    const wanted = options.backend ?? "wasm";
    const weightFiles = site.weights.map(({ file }) => file);
    const model = [site.front_end, site.encoder, ...weightFiles, site.answer.file];
    totalBytes = [...model, runtimeFile(site, "wasm")].reduce((sum, { bytes }) => sum + bytes, 0);
    const [frontEnd, encoder, excerpt, ...weights] = await Promise.all([
      files.bytes(site.front_end),
      files.bytes(site.encoder),
      files.bytes(site.answer.file),
      ...weightFiles.map((each) => files.bytes(each)),
    ]);
    const named = site.weights.map((each, i): [string, Uint8Array] => [
      each.name,
      placed(each, weights[i]!),
    ]);
    const parts: Parts = { frontEnd, encoder, weights: new Map(named) };
    let note: string | undefined;
    for (const backend of wanted === "wasm" ? (["wasm"] as const) : (["webgpu", "wasm"] as const)) {
      try {
        const binary = await files.bytes(runtimeFile(site, backend), options.runtimeUrl);
        const network = await Network.open(backend, binary, parts);
        onProgress({ phase: "warmup", loadedBytes: files.loadedBytes, totalBytes });
        const difference = await largestDifference(network, site, excerpt);
        const info = { ...infoOf(site), backend, largestDifference: difference };
        return new Engine(
          site,
          new ModelRate(site, files),
          network,
          note ? { ...info, backendNote: note } : info,
        );
      } catch (error) {
        if (backend === "wasm") throw error;
        signal.throwIfAborted();
        note = `WebGPU is not used: ${error instanceof Error ? error.message : error}`;
      }
    }
    throw new MuqrtError("no backend runs the model.");
  }

  /** Tag a whole track. */
  async tag(
    samples: Samples,
    name: string,
    onProgress: (progress: { doneSeconds: number; totalSeconds: number }) => void,
    signal: AbortSignal,
  ): Promise<TrackTags> {
    const { framing, tagging } = this.site;
    const track = await this.rate.whole(samples, signal);
    const seconds = (count: number) => count / framing.sample_rate_hz;
    const frames = this.overlappingFrames();
    const windows: TrackWindowTags[] = [];
    for (const window of trackWindows(track, framing, tagging.window_seconds)) {
      signal.throwIfAborted();
      const silent = isSilent(window.waveform);
      const tags = finite(await this.network.tags(await frames.of(window)));
      const end = seconds(window.startStep * framing.step_samples + window.waveform.length);
      const start = seconds(window.keptFrom * framing.step_samples);
      if (windows.length > 0) windows.at(-1)!.end_seconds = start;
      const scores = silent ? tagging.vocabulary.map(() => 0) : Array.from(tags);
      windows.push({ start_seconds: start, end_seconds: end, scores, silent });
      onProgress({ doneSeconds: end, totalSeconds: seconds(track.length) });
    }
    return trackTags(tagging, name, windows);
  }

  /** A live stream of samples at this rate. */
  async stream(rateHz: number, options: StreamOptions): Promise<LiveStream> {
    return new LiveStream(
      this.site,
      new Resampler(await this.rate.filter(rateHz)),
      this.overlappingFrames(),
      (frames) => this.network.tags(frames),
      rateHz,
      options,
    );
  }

  private overlappingFrames(): OverlappingFrames {
    return new OverlappingFrames(this.site.framing, (waveform) => this.network.frames(waveform));
  }
}

/** One live stream: its windows, its frames and its events. */
export class LiveStream {
  private readonly mix = new DownMix();
  private readonly windows: SlidingWindows;
  private readonly events: TagEvents;
  private seconds = 0;

  constructor(
    private readonly site: Site,
    private readonly resampler: Resampler,
    private readonly frames: OverlappingFrames,
    private readonly tags: Network["tags"],
    private readonly rateHz: number,
    private readonly options: StreamOptions,
  ) {
    const { framing, tagging } = site;
    const { hopSeconds = HOP_SECONDS, firstSeconds = FIRST_SECONDS } = options;
    const { minimumSeconds, release } = options;
    this.windows = new SlidingWindows(
      new Sliding(framing, tagging.window_seconds, hopSeconds, firstSeconds),
    );
    this.events = new TagEvents(tagging, minimumSeconds, release);
  }

  /** @param pushedAt when the samples came, in milliseconds since 1970. */
  async push(channels: Float32Array[], pushedAt: number): Promise<Update[]> {
    requireChannels(channels);
    if (channels[0]!.length > LONGEST_CHUNK_SECONDS * this.rateHz) {
      throw new MuqrtError(
        `a chunk of ${channels[0]!.length} samples; push at most ${LONGEST_CHUNK_SECONDS} s.`,
      );
    }
    this.windows.append(this.resampler.push(this.mix.push(channels)));
    return await this.updates(pushedAt);
  }

  async finish(pushedAt: number): Promise<StreamEnd> {
    this.windows.append(this.resampler.finish());
    this.windows.end();
    const updates = await this.updates(pushedAt);
    const events = this.events.finish(this.seconds);
    const { segments, silences } = this.events;
    const silent = silences.length === 1 && `${silences[0]}` === `${[0, this.seconds]}`;
    return {
      updates,
      events,
      segments: {
        type: "segments",
        model: this.site.model,
        audio: this.options.name ?? "stream",
        seconds: this.seconds,
        segments: byTag(segments),
        silences,
        silent,
      },
    };
  }

  private async updates(pushedAt: number): Promise<Update[]> {
    const { framing, tagging } = this.site;
    const found: Update[] = [];
    for (let window = this.windows.next(); window !== undefined; window = this.windows.next()) {
      const silent = isSilent(window.waveform);
      const tags = finite(await this.tags(await this.frames.of(window)));
      const scores = silent ? new Float32Array(tags.length) : tags;
      const first = window.startStep * framing.step_samples;
      const start_seconds = first / framing.sample_rate_hz;
      const end_seconds = (first + window.waveform.length) / framing.sample_rate_hz;
      this.seconds = end_seconds;
      const events = this.events.push(start_seconds, end_seconds, scores, silent);
      const latency_seconds = (Date.now() - pushedAt) / 1e3;
      const above = silent ? {} : reached(tagging, scores);
      const unsure = doubt(tagging, scores, above, silent);
      found.push({
        hop: {
          type: "hop",
          start_seconds,
          end_seconds,
          tags: above,
          ...unsure,
          silent,
          latency_seconds,
        },
        scores,
        events,
      });
    }
    return found;
  }
}

/** Every tag's segments, the tag with the longest total first. */
function byTag(events: TagEvents["segments"]): Record<string, [number, number][]> {
  const found = new Map<string, [number, number][]>();
  for (const { tag, start_seconds, end_seconds } of events) {
    const segments = found.get(tag) ?? [];
    segments.push([start_seconds, end_seconds!]);
    found.set(tag, segments);
  }
  const total = (segments: [number, number][]) => segments.reduce((sum, [s, e]) => sum + e - s, 0);
  return Object.fromEntries([...found].sort(([, a], [, b]) => total(b) - total(a)));
}

/** Run the stored excerpt, and return how far a tag is from the proven model's answer. */
async function largestDifference(
  network: Network,
  { answer }: Site,
  excerpt: Uint8Array<ArrayBuffer>,
): Promise<number> {
  const stored = new Int16Array(excerpt.buffer);
  const waveform = Float32Array.from(stored, (each) => each / INT16_FULL_SCALE);
  const tags = await network.tags(await network.frames(waveform));
  const difference = answer.tags.reduce(
    (most, tag, i) => Math.max(most, Math.abs(tag - tags[i]!)),
    0,
  );
  // Written so that what is not a number does not pass.
  if (!(difference <= answer.largest_tag_change)) {
    throw new MuqrtError(
      `${network.backend} in this browser gives other tags than the proven model: they differ by ` +
        `up to ${difference.toPrecision(2)}, and at most ${answer.largest_tag_change} is accepted.`,
    );
  }
  return difference;
}

function infoOf(site: Site): Omit<ModelInfo, "backend" | "largestDifference"> {
  const { tagging } = site;
  return {
    name: site.model,
    artefact: site.artefact,
    precision: site.precision,
    task: tagging.task,
    vocabulary: tagging.vocabulary,
    thresholds: tagging.thresholds,
    groups: tagging.groups,
    windowSeconds: tagging.window_seconds,
    hopSeconds: HOP_SECONDS,
    sampleRateHz: site.framing.sample_rate_hz,
  };
}

export function runtimeFile(site: Pick<Site, "runtime">, backend: Backend) {
  const file = site.runtime[backend];
  if (file === null) throw new MuqrtError(`this site was written without the ${backend} runtime.`);
  return file;
}

function finite(tags: Float32Array): Float32Array {
  if (!tags.every(Number.isFinite)) {
    throw new MuqrtError("the model gave tags that are not numbers; reload the page.");
  }
  return tags;
}
