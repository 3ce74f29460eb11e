"""A tokenizer of XLM-RoBERTa's kind, fitted to texts: for small text encoders of our own."""

from collections.abc import Iterable
from pathlib import Path

from ...errors import MissingDependencyError

# XLM-RoBERTa's, with the ids 0 to 3.
SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")
# Enough for a random model's: whatever is not in them is spelled or unknown.
PANGRAMS = (
    "The quick brown fox jumps over the lazy dog, 0123456789 times!",
    "Jackdaws love my big sphinx of quartz; pack my box with five dozen liquor jugs?",
    "a slow song with a piano, guitar, drums and a singer in a minor key",
    "一首适合海边的小提琴曲，节奏欢快。安静的钢琴独奏。",
)


def fit_tokenizer(texts: Iterable[str], vocabulary: int, path: Path) -> None:
    """Fit a unigram model with word boundaries as XLM-RoBERTa has, and write ``tokenizer.json``.

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
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
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
    tokenizer.save(str(path))
