/** What the page and the worker send each other. */

import type { Samples, StreamOptions } from "../types.ts";
import type { EngineOptions } from "./engine.ts";

/** The arguments of each method. A stream is known by the id of the message that opened it. */
export interface Calls {
  load: [base: string, options: EngineOptions];
  tag: [samples: Samples, name: string, labels: string[]];
  open: [rateHz: number, options: StreamOptions];
  push: [stream: number, channels: Float32Array[], pushedAt: number];
  finish: [stream: number, pushedAt: number];
}

export interface Message {
  id: number;
  /** `abort` gives up the call of this id. */
  method: keyof Calls | "abort";
  args: unknown[];
}

export type Reply =
  | { id: number; result: unknown }
  | { id: number; progress: unknown }
  | { id: number; error: string; aborted: boolean; isUsers: boolean };
