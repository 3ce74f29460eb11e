/** `site.json`, which `muqrt web` writes: every file of the model with its hash, and what it means. */

import { MuqrtError } from "../types.ts";

export interface SiteFile {
  path: string;
  bytes: number;
  sha256: string;
}

/** All lengths in samples at `sample_rate_hz`. */
export interface Framing {
  sample_rate_hz: number;
  hop_samples: number;
  step_samples: number;
  minimum_samples: number;
}

export interface Tagging {
  task: string;
  vocabulary: string[];
  thresholds: number[];
  /** Tags of which one counts at most, the most probable. */
  groups: string[][];
  window_seconds: number;
}

/** A polyphase filter from `rate_hz` to the model's rate; what its numbers mean, `filters.py` says. */
export interface Filter {
  rate_hz: number;
  up: number;
  down: number;
  taps: number;
  /** How many of a row's samples come before the one that it is aligned with. */
  before: number;
  start_outputs: number;
  start_inputs: number;
  file: SiteFile;
}

/** A tensor of 16-bit numbers in place of weights: each times 2^-exponent is one. */
export interface Rounded {
  offset: number;
  bytes: number;
  type: "float16" | "float32";
  exponent: number;
}

/** A file of weights, of which the model needs the part that is stored: `bytes` from `offset` on. */
export interface Weights {
  /** What the graphs call it. */
  name: string;
  total_bytes: number;
  offset: number;
  file: SiteFile;
  /** Since version 2; offsets are those in the whole file. */
  rounded?: Rounded[];
}

/** An excerpt, int16 at the model's rate, and its tags by the proven model in Python. */
export interface Answer {
  file: SiteFile;
  tags: number[];
  largest_tag_change: number;
}

export interface Site {
  format_version: 1 | 2;
  model: string;
  artefact: string;
  precision: string;
  framing: Framing;
  tagging: Tagging;
  front_end: SiteFile;
  encoder: SiteFile;
  weights: Weights[];
  runtime: Record<"wasm" | "webgpu", SiteFile | null>;
  filters: Filter[];
  answer: Answer;
}

/** Fetches the files of one site, and checks each. */
export class SiteFiles {
  loadedBytes = 0;

  constructor(
    private readonly base: string,
    private readonly signal: AbortSignal,
    private readonly onBytes: (loadedBytes: number) => void = () => {},
  ) {}

  async manifest(): Promise<Site> {
    const site = (await (await this.fetch("site.json")).json()) as Site;
    if (site.format_version !== 1 && site.format_version !== 2) {
      throw new MuqrtError(
        `site.json has format version ${site.format_version}; this page reads 1 and 2. ` +
          "Write the site again with muqrt web.",
      );
    }
    return site;
  }

  /** A file's bytes, once their hash is the manifest's. */
  async bytes(file: SiteFile, base = this.base): Promise<Uint8Array<ArrayBuffer>> {
    const response = await this.fetch(file.path, base);
    const found = await this.read(response, file);
    const digest = await crypto.subtle.digest("SHA-256", found);
    const hex = Array.from(new Uint8Array(digest), (each) => each.toString(16).padStart(2, "0"));
    if (hex.join("") !== file.sha256) {
      throw new MuqrtError(
        `${file.path} is not the file that the site was written with (its SHA-256 differs). ` +
          "Reload the page; if that does not help, copy the site again.",
      );
    }
    return found;
  }

  private async fetch(path: string, base = this.base): Promise<Response> {
    const url = new URL(path, base);
    let response: Response;
    try {
      response = await fetch(url, { signal: this.signal });
    } catch (error) {
      if (this.signal.aborted) throw error;
      throw new MuqrtError(`${url.pathname} cannot be loaded: is the server still there?`);
    }
    if (!response.ok) {
      throw new MuqrtError(
        `${url.pathname} cannot be loaded (HTTP ${response.status}). Copy the whole site again.`,
      );
    }
    return response;
  }

  private async read(response: Response, file: SiteFile): Promise<Uint8Array<ArrayBuffer>> {
    // Never more than the manifest says: a wrong file must not fill the memory.
    const found = new Uint8Array(file.bytes);
    let length = 0;
    for await (const chunk of response.body ?? []) {
      if (length + chunk.length > file.bytes) break;
      found.set(chunk, length);
      length += chunk.length;
      this.loadedBytes += chunk.length;
      this.onBytes(this.loadedBytes);
    }
    return found;
  }
}
