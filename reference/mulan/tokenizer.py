"""A tokenizer of XLM-RoBERTa's kind, fitted to texts: for small text encoders of our own."""

import json
from collections.abc import Iterable
from pathlib import Path

from ...errors import MissingDependencyError

# XLM-RoBERTa's, with the ids 0 to 3.
SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")
_SCORE_DECIMALS = 4  # beyond them, scores differ from one fitting to the next
# Enough for a random model's: whatever is not in them is spelled or unknown.
PANGRAMS = (
    "The quick brown fox jumps over the lazy dog, 0123456789 times!",
    "Jackdaws love my big sphinx of quartz; pack my box with five dozen liquor jugs?",
    "a slow song with a piano, guitar, drums and a singer in a minor key",
    "一首适合海边的小提琴曲，节奏欢快。安静的钢琴独奏。",
)


def fit_tokenizer(texts: Iterable[str], vocabulary: int, path: Path) -> None:
    """Fit a unigram model with word boundaries as XLM-RoBERTa has, and write ``tokenizer.json``.

    The library's trainer is not deterministic: tokens are therefore put in the order of their
    letters, and scores rounded. Of two tokens that are worth the same, either may still be in a
    vocabulary that is full.

    Args:
        texts: read once.
        vocabulary: tokens at most, special ones included.
        path: where the file goes.

    Raises:
        MissingDependencyError: the library ``tokenizers`` is not installed.
    """
    try:
        from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    except ImportError:
        raise MissingDependencyError(
            "fitting a tokenizer needs the library tokenizers: pip install 'muqrt[text]'"
        ) from None
    tokenizer = Tokenizer(models.Unigram())
    # Chinese has no spaces: without the second, half a sentence would become one token.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()]
    )
    trainer = trainers.UnigramTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    ends = [(token, SPECIAL_TOKENS.index(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=ends
    )
    document = json.loads(tokenizer.to_str())
    pieces = document["model"]["vocab"]
    first = len(SPECIAL_TOKENS)
    fitted = sorted((piece, round(score, _SCORE_DECIMALS)) for piece, score in pieces[first:])
    document["model"]["vocab"] = [*pieces[:first], *fitted]
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
