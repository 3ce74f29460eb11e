/** What the page needs of a model, wherever it runs. */

import type { LoadOptions, Model, ModelInfo } from "../index.ts";
import { load } from "../index.ts";

/** The tags that the model knows. */
export type TagInfo = Pick<
  ModelInfo,
  "task" | "vocabulary" | "thresholds" | "groups" | "windowSeconds"
>;

/** Whether labels are named with each track. */
export function takesLabels(info: TagInfo): boolean {
  return info.task === "zero-shot";
}

/** What is known of labels: each counts from chance on. */
export function labelInfo(info: TagInfo, labels: string[]): TagInfo {
  return { ...info, vocabulary: labels, thresholds: labels.map(() => 1 / labels.length) };
}

export interface Tagger extends Pick<Model, "tag" | "stream" | "close"> {
  readonly info: TagInfo;
  /** Where it runs and what becomes of the sound, for the foot of the page. */
  readonly about: string;
  /** What the user should know before relying on it. */
  readonly notice: string;
}

/** The site's model, in this browser. */
export async function loadHere(options: LoadOptions): Promise<Tagger> {
  const model = await load("model/", options);
  const { info } = model;
  const engine = info.backend === "webgpu" ? "on the graphics processor" : "on the processor";
  return {
    info,
    tag: (...args) => model.tag(...args),
    stream: (...args) => model.stream(...args),
    close: () => model.close(),
    about:
      `${info.name} (${info.artefact}, ${info.precision}) runs ${engine} of this device. ` +
      "No sound leaves it.",
    notice: info.backendNote ?? "",
  };
}
