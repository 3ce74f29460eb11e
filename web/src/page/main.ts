/** The page: where the model runs, what it listens to, and what it finds. */

import "./style.css";
import { load, type Model, MuqrtError } from "../index.ts";
import { type Capture, microphone, tab } from "./capture.ts";
import { byId } from "./elements.ts";
import { follow } from "./live.ts";
import { trackArticle } from "./results.ts";
import { complain, hideProgress, isAbort, say, showProgress } from "./status.ts";

const sources = byId("sources");
const stop = byId<HTMLButtonElement>("stop");
const results = byId("results");
const chosen = byId<HTMLInputElement>("files");
const webgpu = byId<HTMLInputElement>("webgpu");

let model: Promise<Model>;

function loadModel(): void {
  say("Loading the model…");
  model = load("model/", {
    backend: webgpu.checked ? "webgpu" : "wasm",
    onProgress: ({ phase, loadedBytes, totalBytes }) => {
      const [loaded, total] = [loadedBytes, totalBytes].map((bytes) => (bytes / 1e6).toFixed(1));
      const text = phase === "download" ? `${loaded} of ${total} MB` : "Trying it out";
      showProgress(loadedBytes / (totalBytes || 1), text);
    },
  });
  model.then(introduce, complain).finally(hideProgress);
}

function introduce({ info }: Model): void {
  say(["Ready.", info.backendNote ?? ""].join(" "));
  const engine = info.backend === "webgpu" ? "on the graphics processor" : "on the processor";
  byId("about").textContent =
    `${info.name} (${info.artefact}, ${info.precision}) runs ${engine} of this device. ` +
    "No sound leaves it.";
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
function ready(signal: AbortSignal): Promise<Model> {
  const aborted = new Promise<never>((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
  });
  return Promise.race([model, aborted]);
}

async function tagFiles(files: File[], signal: AbortSignal): Promise<string> {
  const model = await ready(signal);
  const problems: string[] = [];
  for (const file of files) {
    say(`Tagging ${file.name}…`);
    const onProgress = (progress: { doneSeconds: number; totalSeconds: number }) =>
      showProgress(progress.doneSeconds / (progress.totalSeconds || 1));
    try {
      const track = await model.tag(file, { signal, onProgress });
      results.prepend(trackArticle(track, model.info, file));
    } catch (error) {
      if (isAbort(error) || !(error instanceof MuqrtError)) throw error;
      problems.push(error.message);
    }
  }
  if (problems.length) throw new MuqrtError(problems.join("\n"));
  return files.length === 1 ? `${files[0]?.name} is tagged.` : `${files.length} files are tagged.`;
}

async function listen(
  name: string,
  open: () => Promise<Capture>,
  signal: AbortSignal,
): Promise<string> {
  const capture = await open(); // first: browsers ask only right after a press
  signal.addEventListener("abort", capture.stop);
  const model = await ready(signal).finally(() => signal.aborted && capture.stop());
  say([`Listening to the ${name.toLowerCase()}.`, capture.warning ?? ""].join(" "));
  const lostSeconds = await follow(model, capture, name, (article) => results.prepend(article));
  if (!lostSeconds) return "The stream is over.";
  throw new MuqrtError(
    `This device is too slow: ${lostSeconds.toFixed(1)} s of sound were left out. ` +
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
byId("graphics").hidden = !("gpu" in navigator);
webgpu.onchange = () => {
  model.then(
    (previous) => previous.close(),
    () => {},
  );
  loadModel();
};
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
loadModel();
