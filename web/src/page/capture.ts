/** Sound as the device delivers it: its own rate, nothing cleaned, nothing made louder. */

import { MuqrtError } from "../types.ts";
import workletUrl from "./capture-worklet.ts?worker&url";

/** Processing made for speech, which changes music; what each is called in a sentence. */
const PROCESSING = {
  echoCancellation: "echo cancellation",
  noiseSuppression: "noise suppression",
  autoGainControl: "automatic gain",
} as const;

const OFF = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };

/** Sound that is being captured. */
export interface Capture {
  readonly rateHz: number;
  /** What the browser does with the sound although the page asked it not to; null for nothing. */
  readonly warning: string | null;
  /** Called with some samples of every channel; and once with null, when no more will come. */
  onSound: (channels: Float32Array[] | null) => void;
  /** End it; what has been captured is still handed over. */
  stop(): void;
}

/** Listen to the microphone that the browser offers. */
export async function microphone(): Promise<Capture> {
  const devices = devicesOrThrow();
  const stream = await devices.getUserMedia({ audio: OFF }).catch((error: unknown) => {
    throw new MuqrtError(microphoneProblem(error));
  });
  return capture(stream);
}

/** Listen to a tab that the user chooses. */
export async function tab(): Promise<Capture> {
  const devices = devicesOrThrow();
  if (!devices.getDisplayMedia) throw new MuqrtError(NO_TABS);
  const stream = await devices
    .getDisplayMedia({ video: true, audio: OFF })
    .catch((error: unknown) => {
      throw isNamed(error, "NotAllowedError")
        ? new DOMException("No tab was chosen.", "AbortError")
        : new MuqrtError(NO_TABS);
    });
  for (const video of stream.getVideoTracks()) video.enabled = false;
  return capture(stream);
}

const NO_TABS =
  "This browser cannot share a tab's sound. Use Chrome or Edge on a computer, or drop the file.";

function devicesOrThrow(): MediaDevices {
  if (navigator.mediaDevices) return navigator.mediaDevices;
  throw new MuqrtError(
    "Browsers listen only on secure pages. Open this page over https, or from localhost.",
  );
}

function microphoneProblem(error: unknown): string {
  if (isNamed(error, "NotAllowedError"))
    return "The page may not use the microphone. Allow it beside the address, and try again.";
  if (isNamed(error, "NotFoundError"))
    return "No microphone was found. Connect one, and try again.";
  if (isNamed(error, "NotReadableError"))
    return "The microphone is in use by another program. Close that program, and try again.";
  return `The microphone cannot be used: ${error instanceof Error ? error.message : error}`;
}

function isNamed(error: unknown, name: string): boolean {
  return error instanceof DOMException && error.name === name;
}

async function capture(stream: MediaStream): Promise<Capture> {
  const [track] = stream.getAudioTracks();
  if (!track) {
    stop(stream);
    throw new MuqrtError(
      'The tab came without its sound. Choose a tab, tick "Also share tab audio", and try again.',
    );
  }
  const settings = track.getSettings();
  // At any other rate the browser would resample, audibly to the model.
  const context = new AudioContext(
    settings.sampleRate ? { sampleRate: settings.sampleRate } : undefined,
  );
  try {
    await context.audioWorklet.addModule(workletUrl);
    await context.resume();
    const node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
    context.createMediaStreamSource(stream).connect(node);
    const found: Capture = {
      rateHz: context.sampleRate,
      warning: warning(settings),
      onSound: () => {},
      stop: () => node.port.postMessage("stop"),
    };
    node.port.onmessage = ({ data }: MessageEvent<Float32Array[] | null>) => {
      if (data === null) {
        stop(stream);
        void context.close();
      }
      found.onSound(data);
    };
    track.addEventListener("ended", found.stop);
    return found;
  } catch (error) {
    stop(stream);
    void context.close();
    throw error;
  }
}

function stop(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}

function warning(settings: MediaTrackSettings): string | null {
  const names = Object.entries(PROCESSING).filter(
    ([key]) => settings[key as keyof typeof PROCESSING],
  );
  if (!names.length) return null;
  const list = names.map(([, name]) => name).join(" and ");
  return (
    `The browser keeps its ${list} on, which changes music: tags will be less reliable. ` +
    "Try another browser or another microphone."
  );
}
