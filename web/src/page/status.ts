/** What the page is doing, and what went wrong: a line, a progress bar, an alert. */

import { MuqrtError } from "../types.ts";
import { byId } from "./elements.ts";

const line = byId("status");
const bar = byId<HTMLProgressElement>("progress");
const detail = byId("detail");
const alert = byId("error");

/** Say what is being done, and clear an old error. Screen readers read it aloud. */
export function say(text: string): void {
  alert.hidden = true;
  line.textContent = text;
}

/** Show how much is done, from 0 to 1, with a detail that is not read aloud. */
export function showProgress(share: number, text = ""): void {
  bar.hidden = false;
  bar.value = share;
  detail.textContent = text;
}

/** Nothing is under way. */
export function hideProgress(): void {
  bar.hidden = true;
  detail.textContent = "";
}

/** Say what went wrong and how to mend it. An abort is the user's own wish, and no error. */
export function complain(error: unknown): void {
  hideProgress();
  line.textContent = "";
  if (isAbort(error)) return;
  const text = error instanceof Error ? error.message : String(error);
  const fault = `The page has a fault: ${text} Reload it, and try again.`;
  alert.textContent = error instanceof MuqrtError ? text : fault;
  alert.hidden = false;
}

/** Whether the user has stopped it. */
export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}
