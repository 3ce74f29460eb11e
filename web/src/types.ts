/**
 * The public types of `muqrt-web`. The keys of records are those of `muqrt tag --json` and
 * `muqrt stream --json`, so what is downloaded from the page can be read by the same programs.
 */

/** Where ONNX Runtime runs the model. */
export type Backend = "wasm" | "webgpu";

export interface LoadOptions {
  /** `"webgpu"` is used only if it gives the site's stored answer; otherwise `"wasm"`. */
  backend?: Backend;
  /** Where the runtime's `.wasm` files lie; beside the model when left out. */
  runtimeUrl?: string | URL;
  /** Called while files are loaded. */
  onProgress?: (progress: LoadProgress) => void;
  signal?: AbortSignal;
}

export interface LoadProgress {
  /** `"warmup"` comes after the last byte: the first run of the graphs is slow. */
  phase: "download" | "warmup";
  loadedBytes: number;
  totalBytes: number;
}

/** What the site's manifest says about the model, and where it runs now. */
export interface ModelInfo {
  name: string;
  artefact: string;
  precision: string;
  task: string;
  /** Empty where labels are named with each track: the task is "zero-shot" then. */
  vocabulary: string[];
  /** The probability from which each tag counts, in the vocabulary's order. */
  thresholds: number[];
  /** Tags of which one counts at most, the most probable. */
  groups: string[][];
  windowSeconds: number;
  hopSeconds: number;
  sampleRateHz: number;
  backend: Backend;
  /** Why the backend that was asked for is not used. */
  backendNote?: string;
  /** Largest difference of a tag from the stored answer, measured on this machine when loaded. */
  largestDifference: number;
}

/** Samples and their rate; several channels are mixed down as in Python. */
export interface Samples {
  channels: Float32Array[];
  rateHz: number;
}

export type Segment = [startSeconds: number, endSeconds: number];

/** A tag and its probability. */
export interface TagScore {
  tag: string;
  score: number;
}

/** One track, as `muqrt tag --json` gives it under `results`. */
export interface TrackTags {
  audio: string;
  seconds: number;
  /** The whole track's tags that reach their thresholds, best first. */
  tags: Record<string, number>;
  /** Every tag of the whole track, best first. */
  scores: Record<string, number>;
  /** Where each tag is present. */
  segments: Record<string, Segment[]>;
  /** No tag reaches its threshold, though there is sound; then `guess` is the nearest one. */
  unsure: boolean;
  guess: TagScore | null;
  silences: Segment[];
  silent: boolean;
  windows: TrackWindowTags[];
  /** Of labels: each one's cosine with the whole track, best first. */
  cosines?: Record<string, number>;
}

/** The stretch of a track that a window stands for; the stretches follow one another. */
export interface TrackWindowTags {
  start_seconds: number;
  end_seconds: number;
  /** In the vocabulary's order; zeros in silence. */
  scores: number[];
  silent: boolean;
  /** Of labels, in their order. */
  cosines?: number[];
}

export interface TagOptions {
  /** What `audio` is called in the result; a File has its own name. */
  name?: string;
  /** With a MuQ-MuLan: your own labels to tag with. */
  labels?: string[];
  onProgress?: (progress: { doneSeconds: number; totalSeconds: number }) => void;
  signal?: AbortSignal;
}

/** A window that has just ended; the line that `muqrt stream --json` prints for it. */
export interface HopRecord {
  type: "hop";
  start_seconds: number;
  end_seconds: number;
  /** The tags that reach their thresholds, best first. */
  tags: Record<string, number>;
  /** As in `TrackTags`. */
  unsure: boolean;
  guess: TagScore | null;
  silent: boolean;
  latency_seconds: number;
}

/** A tag has begun, `end_seconds` being null, or is over. */
export interface EventRecord {
  type: "event";
  tag: string;
  start_seconds: number;
  end_seconds: number | null;
  score: number;
}

export interface SilenceRecord {
  type: "silence";
  start_seconds: number;
  end_seconds: number | null;
}

/** The last line of a stream. */
export interface SegmentsRecord {
  type: "segments";
  model: string;
  audio: string;
  seconds: number;
  segments: Record<string, Segment[]>;
  silences: Segment[];
  silent: boolean;
}

export type StreamRecord = HopRecord | EventRecord | SilenceRecord | SegmentsRecord;

export interface StreamOptions {
  name?: string;
  /** From one update to the next; 0.5 when left out. */
  hopSeconds?: number;
  /** Before the first update; 2 when left out. */
  firstSeconds?: number;
  /** Shorter tags are no events; 1 when left out. */
  minimumSeconds?: number;
  /** A tag is over below this share of its threshold; 0.8 when left out. */
  release?: number;
}

/** A hop, every tag's score in the vocabulary's order, and the events that it makes known. */
export interface Update {
  hop: HopRecord;
  scores: Float32Array;
  events: (EventRecord | SilenceRecord)[];
}

/** What a stream ends with: its last hops, the events after them, and the summary. */
export interface StreamEnd {
  updates: Update[];
  events: (EventRecord | SilenceRecord)[];
  segments: SegmentsRecord;
}

export interface Stream {
  readonly rateHz: number;
  /**
   * Append up to 10 s of samples, one array a channel, and get the hops of the windows that end in
   * them. Calls may overlap; they are answered in order, and no hop is left out: where the machine
   * is too slow, `behindSeconds` grows.
   */
  push(channels: Float32Array[]): Promise<Update[]>;
  /** Sound that has been pushed and not yet been answered. */
  readonly behindSeconds: number;
  finish(): Promise<StreamEnd>;
}

export interface Model {
  readonly info: ModelInfo;
  /** Tag a whole file (decoded at its own rate) or samples. */
  tag(audio: Blob | Samples, options?: TagOptions): Promise<TrackTags>;
  /** A live stream of samples at this rate. */
  stream(rateHz: number, options?: StreamOptions): Promise<Stream>;
  /** Free the worker and the model. */
  close(): void;
}

/** Everything that goes wrong for a reason the user can mend; `message` says how. */
export class MuqrtError extends Error {
  override name = "MuqrtError";
}
