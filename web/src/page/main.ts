/** The page: where the model runs, what it listens to, and what it finds. */

import "./style.css";
import { MuqrtError } from "../types.ts";
import { type Capture, microphone, tab } from "./capture.ts";
import { byId } from "./elements.ts";
import { follow } from "./live.ts";
import { trackArticle } from "./results.ts";
import { connect } from "./server.ts";
import { complain, hideProgress, isAbort, say, showProgress } from "./status.ts";
import { labelInfo, loadHere, type Tagger, takesLabels } from "./tagger.ts";

const sources = byId("sources");
const stop = byId<HTMLButtonElement>("stop");
const results = byId("results");
const chosen = byId<HTMLInputElement>("files");
const webgpu = byId<HTMLInputElement>("webgpu");

/** Of server.html, which is this page with a server's model. */
const isServerPage = document.documentElement.dataset.place === "server";

let tagger: Promise<Tagger>;

/** Work with this model from now on. */
function use(coming: Promise<Tagger>): void {
  tagger = coming;
  tagger
    .then(({ about, notice, info }) => {
      byId("words").hidden = !takesLabels(info);
      for (const id of ["microphone", "tab"]) byId(id).hidden = takesLabels(info);
      say(`Ready. ${notice}`);
      byId("about").textContent = about;
    }, complain)
    .finally(hideProgress);
}

function loadModel(): void {
  say("Loading the model…");
  const onProgress = (progress: { phase: string; loadedBytes: number; totalBytes: number }) => {
    const { phase, loadedBytes, totalBytes } = progress;
    const [loaded, total] = [loadedBytes, totalBytes].map((bytes) => (bytes / 1e6).toFixed(1));
    const text = phase === "download" ? `${loaded} of ${total} MB` : "Trying it out";
    showProgress(loadedBytes / (totalBytes || 1), text);
  };
  use(loadHere({ backend: webgpu.checked ? "webgpu" : "wasm", onProgress }));
}

/** Ask for a server, until one answers. */
function askForServer(): void {
  const form = byId<HTMLFormElement>("server");
  const address = byId<HTMLInputElement>("address");
  address.value = new URLSearchParams(location.search).get("at") ?? location.origin;
  const show = (isConnected: boolean) => {
    form.hidden = isConnected;
    sources.hidden = !isConnected;
  };
  show(false);
  form.onsubmit = (event) => {
    event.preventDefault();
    say("Connecting…");
    use(connect(address.value, byId<HTMLInputElement>("token").value));
    tagger.then(
      () => show(true),
      () => address.focus(),
    );
  };
}

/** Do one thing at a time, until it ends or Stop is pressed. */
async function during(work: (signal: AbortSignal) => Promise<string>): Promise<void> {
  const focused = document.activeElement;
  const abort = new AbortController();
  stop.onclick = () => abort.abort(new DOMException("Stopped.", "AbortError"));
  sources.hidden = true;
  stop.hidden = false;
  stop.focus();
  try {
    say(await work(abort.signal));
  } catch (error) {
    complain(error);
  }
  hideProgress();
  const isFocused = document.activeElement === stop;
  stop.hidden = true;
  sources.hidden = false;
  if (isFocused && focused instanceof HTMLElement) focused.focus();
}

/** The model, or the abort if it comes first. */
function ready(signal: AbortSignal): Promise<Tagger> {
  const aborted = new Promise<never>((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
  });
  return Promise.race([tagger, aborted]);
}

async function tagFiles(files: File[], signal: AbortSignal): Promise<string> {
  const model = await ready(signal);
  const labels = takesLabels(model.info) ? namedLabels() : [];
  const info = labels.length ? labelInfo(model.info, labels) : model.info;
  const problems: string[] = [];
  for (const file of files) {
    say(`Tagging ${file.name}…`);
    const onProgress = (progress: { doneSeconds: number; totalSeconds: number }) =>
      showProgress(progress.doneSeconds / (progress.totalSeconds || 1));
    try {
      const track = await model.tag(file, { labels, signal, onProgress });
      results.prepend(trackArticle(track, info, file));
    } catch (error) {
      if (isAbort(error) || !(error instanceof MuqrtError)) throw error;
      problems.push(error.message);
    }
  }
  if (problems.length) throw new MuqrtError(problems.join("\n"));
  return files.length === 1 ? `${files[0]?.name} is tagged.` : `${files.length} files are tagged.`;
}

/** The lines of the form that are not empty, each once. */
function namedLabels(): string[] {
  const lines = byId<HTMLTextAreaElement>("labels").value.split("\n");
  return [...new Set(lines.map((each) => each.trim()).filter((each) => each))];
}

async function listen(
  name: string,
  open: () => Promise<Capture>,
  signal: AbortSignal,
): Promise<string> {
  const capture = await open(); // first: browsers ask only right after a press
  signal.addEventListener("abort", capture.stop);
  const model = await ready(signal).catch((error: unknown) => {
    capture.stop();
    throw error;
  });
  say(`Listening to the ${name.toLowerCase()}. ${capture.warning ?? ""}`);
  const lostSeconds = await follow(model, capture, name, (article) => results.prepend(article));
  if (!lostSeconds) return "The stream is over.";
  throw new MuqrtError(
    `The model is too slow here: ${lostSeconds.toFixed(1)} s of sound were left out. ` +
      "Close other programs and tabs, or use a server.",
  );
}

function tagAll(files: FileList | undefined | null): void {
  if (!files?.length) return;
  const all = [...files];
  if (stop.hidden) void during((signal) => tagFiles(all, signal));
  else complain(new MuqrtError("Something is under way. Stop it, then drop the files again."));
}

byId("choose").onclick = () => chosen.click();
chosen.onchange = () => {
  tagAll(chosen.files);
  chosen.value = "";
};
byId("microphone").onclick = () => during((signal) => listen("Microphone", microphone, signal));
byId("tab").onclick = () => during((signal) => listen("Tab", tab, signal));
byId("graphics").hidden = isServerPage || !("gpu" in navigator);
webgpu.onchange = () => {
  tagger.then(
    (previous) => previous.close(),
    () => {},
  );
  if (isServerPage) askForServer();
  else loadModel();
};
for (const link of document.querySelectorAll("nav a")) {
  const isServerLink = link.getAttribute("href") === "server.html";
  if (isServerLink === isServerPage) link.setAttribute("aria-current", "page");
}
document.ondragover = (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
};
document.ondragleave = () => document.body.classList.remove("dragging");
document.ondrop = (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  tagAll(event.dataTransfer?.files);
};
if (isServerPage) askForServer();
else loadModel();
