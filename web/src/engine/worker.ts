/** The worker: one model, asked through messages. */

import { MuqrtError } from "../types.ts";
import { Engine, type LiveStream } from "./engine.ts";
import type { Calls, Message, Reply } from "./messages.ts";

let engine: Engine | undefined;
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
      engine = await Engine.load(base, options, onProgress, signal);
      return engine.info;
    }
    case "tag": {
      const [samples, name] = message.args as Calls["tag"];
      return await loaded().tag(samples, name, onProgress, signal);
    }
    case "open": {
      const [rateHz, options] = message.args as Calls["open"];
      streams.set(message.id, await loaded().stream(rateHz, options));
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

function loaded(): Engine {
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
