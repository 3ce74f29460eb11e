/** Music tags in a browser, with the same numbers as `muqrt` in Python. */

import { decode } from "./decode.ts";
import type { Calls, Message, Reply } from "./engine/messages.ts";
import {
  type LoadOptions,
  type Model,
  type ModelInfo,
  MuqrtError,
  type Samples,
  type Stream,
  type StreamEnd,
  type StreamOptions,
  type TagOptions,
  type TrackTags,
  type Update,
} from "./types.ts";

export { present } from "./engine/track.ts";
export * from "./types.ts";

/**
 * Load the model of a site that `muqrt web` wrote.
 *
 * @param url the folder of `site.json`, relative to the page.
 * @throws MuqrtError a file is missing, or not the one that the site was written with; or the
 *   browser gives other tags than the proven model.
 */
export async function load(url: string | URL, options: LoadOptions = {}): Promise<Model> {
  if (globalThis.crypto?.subtle === undefined) {
    throw new MuqrtError(
      "open the page over https, or from localhost: only there are hashes checked.",
    );
  }
  const calls = new WorkerCalls();
  const { backend, runtimeUrl, onProgress, signal } = options;
  const base = folder(url);
  const where = runtimeUrl === undefined ? {} : { runtimeUrl: folder(runtimeUrl) };
  const settings = { ...(backend === undefined ? {} : { backend }), ...where };
  try {
    const info = await calls.call("load", [base, settings], { onProgress, signal });
    return new WorkerModel(calls, info as ModelInfo);
  } catch (error) {
    calls.close();
    throw error;
  }
}

function folder(url: string | URL): string {
  const { href } = new URL(url, document.baseURI);
  return href.endsWith("/") ? href : `${href}/`;
}

// Built beside this file. Apart from `new Worker`, or vite would look for it among the sources.
const WORKER_URL = new URL(/* @vite-ignore */ "./worker.js", import.meta.url);

class WorkerModel implements Model {
  constructor(
    private readonly calls: WorkerCalls,
    readonly info: ModelInfo,
  ) {}

  async tag(audio: Blob | Samples, options: TagOptions = {}): Promise<TrackTags> {
    const isFile = audio instanceof Blob;
    const name = options.name ?? (audio instanceof File ? audio.name : "audio");
    const labels = options.labels ?? [];
    const samples = isFile ? await decode(audio, name) : audio;
    const result = this.calls.call(
      "tag",
      [samples, name, labels],
      options,
      isFile ? samples.channels : [],
    );
    return (await result) as TrackTags;
  }

  async stream(rateHz: number, options: StreamOptions = {}): Promise<Stream> {
    const id = (await this.calls.call("open", [rateHz, options])) as number;
    return new WorkerStream(this.calls, id, rateHz);
  }

  close(): void {
    this.calls.close();
  }
}

class WorkerStream implements Stream {
  private waitingSamples = 0;

  constructor(
    private readonly calls: WorkerCalls,
    private readonly id: number,
    readonly rateHz: number,
  ) {}

  get behindSeconds(): number {
    return this.waitingSamples / this.rateHz;
  }

  async push(channels: Float32Array[]): Promise<Update[]> {
    const samples = channels[0]?.length ?? 0;
    this.waitingSamples += samples;
    try {
      return (await this.calls.call("push", [this.id, channels, Date.now()])) as Update[];
    } finally {
      this.waitingSamples -= samples;
    }
  }

  async finish(): Promise<StreamEnd> {
    return (await this.calls.call("finish", [this.id, Date.now()])) as StreamEnd;
  }
}

interface Call {
  resolve: (result: unknown) => void;
  reject: (error: unknown) => void;
  onProgress: ((progress: never) => void) | undefined;
}

interface CallOptions {
  onProgress?: ((progress: never) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** Calls of the worker's methods, answered in order. */
class WorkerCalls {
  private readonly worker = new Worker(WORKER_URL, { type: "module" });
  private readonly calls = new Map<number, Call>();
  private latestId = 0;
  /** Why no call is answered any more. */
  private closed: Error | undefined;

  constructor() {
    this.worker.onmessage = ({ data }: MessageEvent<Reply>) => this.receive(data);
    this.worker.onerror = ({ message }) => {
      const why = message || "its script cannot be loaded";
      this.close(new MuqrtError(`the worker failed (${why}); reload the page.`));
    };
  }

  call<M extends keyof Calls>(
    method: M,
    args: Calls[M],
    { onProgress, signal }: CallOptions = {},
    channels: readonly Float32Array[] = [],
  ): Promise<unknown> {
    const id = ++this.latestId;
    const message: Message = { id, method, args };
    const transfer = [...new Set(channels.map((each) => each.buffer as ArrayBuffer))];
    return new Promise((resolve, reject) => {
      if (this.closed) throw this.closed;
      signal?.throwIfAborted();
      const abort = () => this.worker.postMessage({ id, method: "abort", args: [] });
      signal?.addEventListener("abort", abort);
      const ended = () => {
        signal?.removeEventListener("abort", abort);
        this.calls.delete(id);
      };
      this.calls.set(id, {
        resolve: (result) => {
          ended();
          resolve(result);
        },
        reject: (error) => {
          ended();
          reject(error);
        },
        onProgress,
      });
      this.worker.postMessage(message, transfer);
    });
  }

  close(reason: Error = new MuqrtError("the model has been closed; load it again.")): void {
    this.closed ??= reason;
    this.worker.terminate();
    for (const each of [...this.calls.values()]) each.reject(reason);
  }

  private receive(reply: Reply): void {
    const call = this.calls.get(reply.id);
    if (call === undefined) return;
    if ("progress" in reply) call.onProgress?.(reply.progress as never);
    else if ("result" in reply) call.resolve(reply.result);
    else if (reply.aborted) call.reject(new DOMException("aborted", "AbortError"));
    else call.reject(reply.isUsers ? new MuqrtError(reply.error) : new Error(reply.error));
  }
}
