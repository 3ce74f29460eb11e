/** The model of a `muqrt gateway`: files over HTTP, live sound over a WebSocket. */

import { MuqrtError, type TagOptions, type TrackTags } from "../types.ts";
import { element } from "./elements.ts";
import { ServerStream } from "./server-stream.ts";
import type { Tagger, TagInfo } from "./tagger.ts";

/** What a gateway says of its model; an answer about files has it, too. */
export interface ModelFacts {
  model: string;
  task: string;
  vocabulary: string[];
  thresholds: Record<string, number>;
  /** Absent from an older gateway. */
  groups?: string[][];
  window_seconds: number;
}

interface TagsAnswer extends ModelFacts {
  results: (TrackTags & { error?: string })[];
}

let confinedTo: string | null = null;

/**
 * Reach this server and the page's own host only, as long as the page is open; its policy is
 * widened by nothing but a reload.
 */
function confine(server: URL): void {
  if (confinedTo === server.origin) return;
  if (confinedTo) location.search = `?at=${encodeURIComponent(server.origin)}`;
  confinedTo = server.origin;
  const content = `connect-src 'self' ${server.origin} ${server.origin.replace("http", "ws")}`;
  document.head.append(element("meta", { "http-equiv": "Content-Security-Policy", content }));
}

/**
 * The model of the gateway at this address.
 *
 * @throws MuqrtError it cannot be reached, or wants another token.
 */
export async function connect(address: string, token: string): Promise<Tagger> {
  const base = new URL(address);
  confine(base);
  const ask = async <Answer>(path: string, init: RequestInit = {}): Promise<Answer> => {
    const headers: HeadersInit = token ? { authorization: `Bearer ${token}` } : {};
    const answer = await fetch(new URL(path, base), { ...init, headers }).catch((error) => {
      throw error instanceof TypeError ? new MuqrtError(unreachable(base)) : error;
    });
    if (answer.ok) return answer.json();
    throw new MuqrtError(await refusal(answer));
  };
  const facts = await ask<ModelFacts>("/v1/model");
  const info = tagInfo(facts);
  return {
    info,
    tag: (audio, options) => tag(ask, audio, options),
    stream: (rateHz, { name = "stream" } = {}) =>
      ServerStream.open({ base, token, rateHz, name }, info),
    close: () => {},
    about: `${facts.model} runs on ${base.host}. Sound is sent there.`,
    notice: "",
  };
}

type Ask = <Answer>(path: string, init?: RequestInit) => Promise<Answer>;

async function tag(ask: Ask, audio: unknown, options: TagOptions = {}): Promise<TrackTags> {
  if (!(audio instanceof File)) throw new TypeError("only files are sent to a server");
  const body = new FormData();
  body.append("audio", audio, audio.name);
  const { labels = [], signal = null } = options;
  for (const label of labels) body.append("labels", label);
  const answer = await ask<TagsAnswer>("/v1/tags", { method: "POST", body, signal });
  const [track] = answer.results;
  if (!track || track.error) throw new MuqrtError(track?.error ?? "The server gave no result.");
  return track;
}

function tagInfo(facts: ModelFacts): TagInfo {
  const { task, vocabulary, thresholds, groups = [], window_seconds } = facts;
  const limits = vocabulary.map((each) => thresholds[each] ?? 1);
  return { task, vocabulary, thresholds: limits, groups, windowSeconds: window_seconds };
}

function unreachable(base: URL): string {
  if (location.protocol === "https:" && base.protocol === "http:") {
    return `${base.origin} cannot be reached: a page over https reaches https servers only.`;
  }
  const allow =
    base.origin === location.origin ? "" : `, with --allow-origin ${location.origin} for this page`;
  return `${base.origin} cannot be reached. Check the address, and that muqrt gateway runs there${allow}.`;
}

async function refusal(answer: Response): Promise<string> {
  if (answer.status === 401)
    return "The server wants a token that it knows: type it, and connect again.";
  const document = await answer.json().catch(() => ({}));
  return document.error ?? `The server answered ${answer.status}. Is it a muqrt gateway?`;
}
