/** Live tags: from what is captured to the page, until the sound ends. */

import type { Capture } from "./capture.ts";
import { StreamArticle } from "./results.ts";
import type { Tagger } from "./tagger.ts";

const MOST_BEHIND_SECONDS = 30;

/** Show a stream's tags until its capture ends; returns the seconds that were left out because the
 * model was too slow. */
export async function follow(
  model: Tagger,
  capture: Capture,
  name: string,
  show: (article: HTMLElement) => void,
): Promise<number> {
  const stream = await model.stream(capture.rateHz, { name });
  const article = new StreamArticle(name, model.info);
  show(article.element);
  let lostSeconds = 0;
  await new Promise<void>((resolve, reject) => {
    capture.onSound = (channels) => {
      if (!channels) {
        resolve();
      } else if (stream.behindSeconds > MOST_BEHIND_SECONDS) {
        lostSeconds += (channels[0]?.length ?? 0) / capture.rateHz;
      } else {
        stream.push(channels).then((updates) => article.add(updates), reject);
      }
    };
  }).finally(capture.stop);
  article.finish(await stream.finish());
  return lostSeconds;
}
