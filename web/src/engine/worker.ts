/** The worker: one model, asked through messages. */

import { type LoadProgress, MuqrtError } from "../types.ts";
import { Engine, type EngineOptions, type LiveStream, runtimeFile } from "./engine.ts";
import { LabelEngine, type LabelSite } from "./labels.ts";
import type { Calls, Message, Reply } from "./messages.ts";
import { type Site, SiteFiles } from "./site.ts";

let engine: Engine | LabelEngine | undefined;
const streams = new Map<number, LiveStream>();
const running = new Map<number, AbortController>();

/** Jobs run one after the other: they share the model, and a stream's chunks have an order. */
let latest: Promise<unknown> = Promise.resolve();

self.onmessage = ({ data: message }: MessageEvent<Message>) => {
  if (message.method === "abort") {
    running.get(message.id)?.abort();
    return;
  }
  const controller = new AbortController();
  running.set(message.id, controller);
  latest = latest.then(async () => {
    try {
      controller.signal.throwIfAborted();
      const result = await answer(message, controller.signal);
      reply({ id: message.id, result });
    } catch (error) {
      const isUsers = error instanceof MuqrtError;
      const text = error instanceof Error ? error.message : String(error);
      reply({ id: message.id, error: text, aborted: controller.signal.aborted, isUsers });
    } finally {
      running.delete(message.id);
    }
  });
};

async function answer(message: Message, signal: AbortSignal): Promise<unknown> {
  const onProgress = (progress: unknown) => reply({ id: message.id, progress });
  switch (message.method) {
    case "load": {
      const [base, options] = message.args as Calls["load"];
      engine = await load(base, options, onProgress, signal);
      return engine.info;
    }
    case "tag": {
      const [samples, name, labels] = message.args as Calls["tag"];
      const model = loaded();
      if (model instanceof LabelEngine)
        return await model.tag(samples, name, labels, onProgress, signal);
      return await model.tag(samples, name, onProgress, signal);
    }
    case "open": {
      const [rateHz, options] = message.args as Calls["open"];
      const model = loaded();
      if (model instanceof LabelEngine) throw new MuqrtError("labels are for files.");
      streams.set(message.id, await model.stream(rateHz, options));
      return message.id;
    }
    case "push": {
      const [stream, channels, pushedAt] = message.args as Calls["push"];
      return await opened(stream).push(channels, pushedAt);
    }
    case "finish": {
      const [stream, pushedAt] = message.args as Calls["finish"];
      const live = opened(stream);
      streams.delete(stream);
      return await live.finish(pushedAt);
    }
    default:
      throw new MuqrtError(`no method ${message.method}.`);
  }
}

/** The model of a site: one with tags, or a MuQ-MuLan. */
async function load(
  base: string,
  options: EngineOptions,
  onProgress: (progress: LoadProgress) => void,
  signal: AbortSignal,
): Promise<Engine | LabelEngine> {
  let totalBytes = 0;
  const files = new SiteFiles(base, signal, (loadedBytes) => {
    onProgress({ phase: "download", loadedBytes, totalBytes });
  });
  const site = (await files.manifest()) as Site | LabelSite;
  if (!("labels" in site)) return await Engine.load(base, options, onProgress, signal);
  const { audio, text, weights } = site.labels;
  totalBytes = [audio, text, runtimeFile(site, "wasm"), ...weights.map(({ file }) => file)].reduce(
    (sum, { bytes }) => sum + bytes,
    0,
  );
  return await LabelEngine.load(site, files, options, onProgress);
}

function loaded(): Engine | LabelEngine {
  if (engine === undefined) throw new MuqrtError("no model is loaded.");
  return engine;
}

function opened(stream: number): LiveStream {
  const found = streams.get(stream);
  if (found === undefined) throw new MuqrtError("the stream has ended; open another one.");
  return found;
}

function reply(message: Reply): void {
  self.postMessage(message);
}
