/** Texts to tokens, as the library `tokenizers` has them for a unigram model with word boundaries. */

const SPACE = "▁";
const SENTENCE_START = 0;
const SENTENCE_END = 2;
// As the library counts: a token that is not known is worth this much less than the worst that is.
const UNKNOWN_PENALTY = 10;
// ASCII's symbols count as well.
const PUNCTUATION = /[\p{P}$+<=>^`|~]/u;

/** The part of a `tokenizer.json` that is read; `web/label_site.py` checks that no other counts. */
interface TokenizerFile {
  added_tokens: { id: number; content: string }[];
  model: { unk_id: number; vocab: [piece: string, score: number][] };
}

export class Tokenizer {
  private readonly pieces: Map<string, { id: number; score: number }>;
  private readonly special: Map<string, number>;
  private readonly specialPattern: RegExp;
  private readonly longest: number;
  private readonly unknownId: number;
  private readonly unknownScore: number;

  /** @param maxTokens longer texts are cut, first and last token included in the count. */
  constructor(
    file: TokenizerFile,
    private readonly maxTokens: number,
  ) {
    const { vocab, unk_id } = file.model;
    this.pieces = new Map(vocab.map(([piece, score], id) => [piece, { id, score }]));
    this.special = new Map(file.added_tokens.map(({ content, id }) => [content, id]));
    const quoted = [...this.special.keys()].map((each) =>
      each.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"),
    );
    this.specialPattern = new RegExp(`(${quoted.join("|")})`);
    this.longest = Math.max(...vocab.map(([piece]) => [...piece].length));
    this.unknownId = unk_id;
    this.unknownScore = Math.min(...vocab.map(([, score]) => score)) - UNKNOWN_PENALTY;
  }

  encode(text: string): number[] {
    const ids = text
      .split(this.specialPattern)
      .filter((section) => section)
      .flatMap((section) => {
        const special = this.special.get(section);
        return special === undefined
          ? words(section).flatMap((each) => this.best(each))
          : [special];
      });
    return [SENTENCE_START, ...ids.slice(0, this.maxTokens - 2), SENTENCE_END];
  }

  /** The tokens of a word whose scores have the largest sum; neighbours that are unknown are one. */
  private best(word: string): number[] {
    const letters = [...word];
    const paths: { score: number; start: number; id: number }[] = [];
    const offer = (start: number, end: number, score: number, id: number) => {
      const known = paths[end];
      const total = (paths[start]?.score ?? 0) + score;
      if (known === undefined || total > known.score) paths[end] = { score: total, start, id };
    };
    for (let start = 0; start < letters.length; start++) {
      const stop = Math.min(letters.length, start + this.longest);
      for (let end = start + 1; end <= stop; end++) {
        const piece = this.pieces.get(letters.slice(start, end).join(""));
        if (piece) offer(start, end, piece.score, piece.id);
        else if (end === start + 1) offer(start, end, this.unknownScore, this.unknownId);
      }
    }
    const found: number[] = [];
    for (let end = letters.length; end > 0; end = paths[end]!.start) {
      const { id } = paths[end]!;
      if (id !== this.unknownId || found[0] !== id) found.unshift(id);
    }
    return found;
  }
}

/** Words with the space before each, and punctuation marks apart. */
function words(section: string): string[] {
  const spaced = section.replaceAll(" ", SPACE);
  const begun = spaced.startsWith(SPACE) ? spaced : SPACE + spaced;
  return begun.split(new RegExp(`(?=${SPACE})`)).flatMap(split);
}

function split(word: string): string[] {
  const parts: string[] = [];
  let isOpen = false;
  for (const letter of word) {
    const isMark = PUNCTUATION.test(letter);
    if (isOpen && !isMark) parts[parts.length - 1] += letter;
    else parts.push(letter);
    isOpen = !isMark;
  }
  return parts;
}
