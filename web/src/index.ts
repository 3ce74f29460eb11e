/** Music tags in a browser, with the same numbers as `muqrt` in Python. */

import { type LoadOptions, type Model, MuqrtError } from "./types.ts";

export * from "./types.ts";

/**
 * Load the model of a site that `muqrt web` wrote.
 *
 * @param url the folder of `site.json`, relative to the page.
 * @throws MuqrtError a file is missing, or is not the one that was certified.
 */
export async function load(url: string | URL, _options: LoadOptions = {}): Promise<Model> {
  throw new MuqrtError(`${url}: the engine is not built yet.`);
}
