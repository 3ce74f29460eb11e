/** Decodes a file at its own rate: the browser's resampling changes tags by up to 0.25. */

import { sampleRate } from "./container.ts";
import { MuqrtError, type Samples } from "./types.ts";

// Beyond what a browser can hold once it is decoded.
const MOST_BYTES = 1 << 30;

/**
 * All samples of an audio file.
 *
 * @throws MuqrtError not a file that the browser can decode.
 */
export async function decode(file: Blob, name: string): Promise<Samples> {
  if (file.size > MOST_BYTES) {
    throw new MuqrtError(`${name}: larger than ${MOST_BYTES >> 20} MB; cut it into parts.`);
  }
  const bytes = await file.arrayBuffer();
  const rateHz = sampleRate(bytes);
  if (rateHz === undefined) {
    throw new MuqrtError(
      `${name}: not a wav, flac, ogg, opus, mp3, aac, m4a or webm file; convert it to one of them.`,
    );
  }
  let audio: AudioBuffer;
  try {
    // A context at the file's rate leaves the samples alone.
    const context = new OfflineAudioContext(1, 1, rateHz);
    audio = await context.decodeAudioData(bytes);
  } catch {
    throw new MuqrtError(
      `${name}: this browser cannot decode it: damaged, too long for its memory, or a codec that ` +
        "it does not know. Convert it to flac or mp3.",
    );
  }
  const channels = Array.from({ length: audio.numberOfChannels }, (_, i) =>
    audio.getChannelData(i),
  );
  return { channels, rateHz };
}
