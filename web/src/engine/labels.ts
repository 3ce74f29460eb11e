/** One loaded MuQ-MuLan: how well the user's own labels describe a track, as `text/zero_shot.py`. */

import type { InferenceSession } from "onnxruntime-web";
import {
  type LoadProgress,
  type ModelInfo,
  MuqrtError,
  type Samples,
  type TrackTags,
  type TrackWindowTags,
} from "../types.ts";
import { type EngineOptions, runtimeFile } from "./engine.ts";
import { ModelRate } from "./rate.ts";
import type { Site, SiteFile, SiteFiles, Weights } from "./site.ts";
import { Tokenizer } from "./tokenizer.ts";
import { ranking, trackTags } from "./track.ts";
import { placed } from "./weights.ts";
import { isSilent, requireLength } from "./windows.ts";

const INT16_FULL_SCALE = 2 ** 15;
const MOST_LABELS = 1000;
const UNPRINTABLE = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u;

/** What `muqrt web` writes of a MuQ-MuLan. */
export interface LabelSite extends Pick<Site, "model" | "artefact" | "precision" | "framing"> {
  runtime: Site["runtime"];
  filters: Site["filters"];
  labels: {
    audio: SiteFile;
    text: SiteFile;
    tokenizer: SiteFile;
    weights: Weights[];
    max_tokens: number;
    clip_samples: number;
    temperature: number;
    /** Sentences with {} for the label. */
    templates: string[];
    /** An excerpt's cosines with some labels by the proven model, and the tokens of their texts. */
    answer: {
      file: SiteFile;
      labels: string[];
      ids: number[][];
      cosines: number[];
      largest_change: number;
    };
  };
}

type Runtime = typeof import("onnxruntime-web/wasm");

export class LabelEngine {
  private readonly rate: ModelRate;
  private difference = 0;

  private constructor(
    private readonly site: LabelSite,
    files: SiteFiles,
    private readonly runtime: Runtime,
    private readonly audio: InferenceSession,
    private readonly text: InferenceSession,
    private readonly tokenizer: Tokenizer,
  ) {
    this.rate = new ModelRate(site, files);
  }

  static async load(
    site: LabelSite,
    files: SiteFiles,
    options: EngineOptions,
    onProgress: (progress: LoadProgress) => void,
  ): Promise<LabelEngine> {
    const { labels } = site;
    const { answer } = labels;
    const [audio, text, tokenizer, excerpt, binary, ...weights] = await Promise.all([
      files.bytes(labels.audio),
      files.bytes(labels.text),
      files.bytes(labels.tokenizer),
      files.bytes(answer.file),
      files.bytes(runtimeFile(site, "wasm"), options.runtimeUrl),
      ...labels.weights.map(({ file }) => files.bytes(file)),
    ]);
    const runtime = await import("onnxruntime-web/wasm");
    runtime.env.wasm.wasmBinary = binary.buffer;
    runtime.env.wasm.numThreads = 1;
    const externalData = labels.weights.map((each, i) => ({
      path: each.name,
      data: placed(each, weights[i]!),
    }));
    const create = runtime.InferenceSession.create;
    const sessions = [await create(audio, { externalData }), await create(text)] as const;
    const words = new Tokenizer(JSON.parse(new TextDecoder().decode(tokenizer)), labels.max_tokens);
    const engine = new LabelEngine(site, files, runtime, ...sessions, words);
    const { loadedBytes } = files;
    onProgress({ phase: "warmup", loadedBytes, totalBytes: loadedBytes });
    await engine.prove(
      Float32Array.from(new Int16Array(excerpt.buffer), (each) => each / INT16_FULL_SCALE),
    );
    return engine;
  }

  get info(): ModelInfo {
    const { model, artefact, precision, framing, labels } = this.site;
    return {
      name: model,
      artefact,
      precision,
      task: "zero-shot",
      vocabulary: [],
      thresholds: [],
      groups: [],
      windowSeconds: labels.clip_samples / framing.sample_rate_hz,
      hopSeconds: labels.clip_samples / framing.sample_rate_hz,
      sampleRateHz: framing.sample_rate_hz,
      backend: "wasm",
      largestDifference: this.difference,
    };
  }

  /** How well each label describes a track, clip by clip and as a whole. */
  async tag(
    samples: Samples,
    name: string,
    vocabulary: string[],
    onProgress: (progress: { doneSeconds: number; totalSeconds: number }) => void,
    signal: AbortSignal,
  ): Promise<TrackTags> {
    requireLabels(vocabulary);
    const latents = await this.latents(vocabulary, signal);
    const track = await this.rate.whole(samples, signal);
    const rate = this.site.framing.sample_rate_hz;
    const { mean, clips } = await this.heard(track, signal, (count) =>
      onProgress({ doneSeconds: count / rate, totalSeconds: track.length / rate }),
    );
    const windows = clips.map(({ start, end, silent, latent }): TrackWindowTags => {
      const cosines = latents.map((each) => dot(latent, each));
      const scores = this.probabilities(cosines);
      return { start_seconds: start / rate, end_seconds: end / rate, scores, silent, cosines };
    });
    const cosines = latents.map((each) => dot(unit(mean), each));
    const isSilentTrack = clips.every((each) => each.silent);
    const scores = this.probabilities(cosines).map((each) => (isSilentTrack ? 0 : each));
    const { windowSeconds: window_seconds } = this.info;
    const thresholds = vocabulary.map(() => 1 / vocabulary.length); // chance
    const tagging = { task: "zero-shot", vocabulary, thresholds, groups: [], window_seconds };
    const best = ranking(tagging, Float32Array.from(scores)).map(([label]) => label);
    const byName = new Map(vocabulary.map((label, i) => [label, cosines[i]!]));
    return {
      ...trackTags(tagging, name, windows, Float32Array.from(scores)),
      cosines: Object.fromEntries(best.map((label) => [label, byName.get(label)!])),
    };
  }

  /** The softmax over the labels. */
  private probabilities(cosines: number[]): number[] {
    const logits = cosines.map((each) => this.site.labels.temperature * each);
    const most = Math.max(...logits);
    const powers = logits.map((each) => Math.exp(each - most));
    const total = powers.reduce((sum, each) => sum + each, 0);
    return powers.map((each) => each / total);
  }

  /** The labels' embeddings: of length one, the mean over all templates. */
  private async latents(labels: string[], signal: AbortSignal): Promise<Float32Array[]> {
    const found: Float32Array[] = [];
    for (const label of labels) {
      const texts = this.site.labels.templates.map((each) => each.replaceAll("{}", () => label));
      const latents: Float32Array[] = [];
      for (const text of texts) {
        signal.throwIfAborted();
        latents.push(await this.textLatent(this.tokenizer.encode(text)));
      }
      found.push(unit(meanOf(latents)));
    }
    return found;
  }

  private async textLatent(ids: number[]): Promise<Float32Array> {
    const tensor = (values: number[]) =>
      new this.runtime.Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length]);
    const { latents } = await this.text.run({ ids: tensor(ids), mask: tensor(ids.map(() => 1)) });
    return latents!.data as Float32Array;
  }

  /** Clips that follow one another, the last one filled with the track's beginning. */
  private async heard(
    track: Float32Array,
    signal: AbortSignal,
    onClip: (doneSamples: number) => void,
  ) {
    const { clip_samples: length } = this.site.labels;
    requireLength(this.site.framing, Math.min(2 * track.length, length));
    const clips: { start: number; end: number; silent: boolean; latent: Float32Array }[] = [];
    for (let start = 0; start < track.length; start += length) {
      signal.throwIfAborted();
      const end = Math.min(start + length, track.length);
      const missing = start + length - end;
      const waveform = joined(track.subarray(start, end), track.subarray(0, missing));
      const input = new this.runtime.Tensor("float32", waveform, [1, waveform.length]);
      const { latents } = await this.audio.run({ waveform: input }, ["latents"]);
      clips.push({ start, end, silent: isSilent(waveform), latent: latents!.data as Float32Array });
      onClip(end);
    }
    const sounding = clips.filter((each) => !each.silent);
    const counted = sounding.length ? sounding : clips;
    return { mean: meanOf(counted.map(({ latent }) => latent)), clips };
  }

  /** Compare with what the proven model says of an excerpt. */
  private async prove(excerpt: Float32Array): Promise<void> {
    const { answer, templates } = this.site.labels;
    const texts = answer.labels.flatMap((label) =>
      templates.map((each) => each.replace("{}", label)),
    );
    const ids = texts.map((each) => this.tokenizer.encode(each));
    if (JSON.stringify(ids) !== JSON.stringify(answer.ids)) {
      throw new MuqrtError("this browser gives other tokens for a text than the proven model.");
    }
    const { signal } = new AbortController();
    const { mean } = await this.heard(excerpt, signal, () => {});
    const latents = await this.latents(answer.labels, signal);
    const differences = latents.map((each, i) =>
      Math.abs(dot(unit(mean), each) - answer.cosines[i]!),
    );
    this.difference = Math.max(...differences);
    // Written so that what is not a number does not pass.
    if (!(this.difference <= answer.largest_change)) {
      throw new MuqrtError(
        `this browser gives other answers than the proven model: cosines differ by up to ` +
          `${this.difference.toPrecision(2)}, and at most ${answer.largest_change} is accepted.`,
      );
    }
  }
}

function requireLabels(labels: string[]): void {
  if (labels.length === 0 || labels.length > MOST_LABELS)
    throw new MuqrtError(`name 1 to ${MOST_LABELS} labels to tag with.`);
  const wrong = labels.find((each) => !each.trim() || UNPRINTABLE.test(each));
  if (wrong !== undefined)
    throw new MuqrtError(`label "${wrong}": empty, or it cannot be printed.`);
  const twice = labels.find((each, i) => labels.indexOf(each) !== i);
  if (twice !== undefined) throw new MuqrtError(`label "${twice}" is given twice.`);
}

function joined(first: Float32Array, second: Float32Array): Float32Array {
  const found = new Float32Array(first.length + second.length);
  found.set(first);
  found.set(second, first.length);
  return found;
}

function meanOf(vectors: Float32Array[]): Float32Array {
  return Float32Array.from(
    vectors[0]!,
    (_, i) => vectors.reduce((sum, each) => sum + each[i]!, 0) / vectors.length,
  );
}

function dot(left: Float32Array, right: Float32Array): number {
  return left.reduce((sum, each, i) => sum + each * right[i]!, 0);
}

function unit(vector: Float32Array): Float32Array {
  const length = Math.sqrt(dot(vector, vector));
  return vector.map((each) => each / length);
}
