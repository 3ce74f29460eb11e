"""Text to the tokens of XLM-RoBERTa."""

from pathlib import Path

import numpy as np

from ...common.environment import import_extra
from ...errors import CheckpointError, UsageError
from .texts import Texts, as_texts

# Where XLM-RoBERTa has them, by the name they have in every ``tokenizer.json`` of its kind.
SPECIAL_TOKENS = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
MAX_TOKENS = 512  # positions of xlm-roberta-base, less the two that mean padding


class TextTokenizer:
    """A ``tokenizer.json`` of XLM-RoBERTa, such as lies beside its checkpoint on the hub.

    Args:
        path: of the file.
        max_tokens: longer texts are cut, first and last token included in the count. The official
            package does not cut, and fails on them.

    Raises:
        CheckpointError: no such file, no tokenizer, or not one of XLM-RoBERTa.
        MissingDependencyError: the library ``tokenizers`` is not installed.
    """

    def __init__(self, path: str | Path, max_tokens: int = MAX_TOKENS) -> None:
        import_extra("text", "tokenizers")
        from tokenizers import Tokenizer

        if max_tokens < 2:
            raise UsageError(f"max_tokens is {max_tokens}: a text has <s> and </s> at least.")
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing more specific
            raise CheckpointError(f"{path}: not a readable tokenizer.json ({error}).") from None
        found = {token: tokenizer.token_to_id(token) for token in SPECIAL_TOKENS}
        if found != SPECIAL_TOKENS:
            raise CheckpointError(
                f"{path}: not a tokenizer of XLM-RoBERTa, whose special tokens are "
                f"{SPECIAL_TOKENS}; here they are {found}."
            )
        # What the file itself says of these would depend on who saved it.
        tokenizer.enable_truncation(max_tokens)
        tokenizer.enable_padding(pad_id=SPECIAL_TOKENS["<pad>"], pad_token="<pad>")
        if tokenizer.encode("").ids != [SPECIAL_TOKENS["<s>"], SPECIAL_TOKENS["</s>"]]:
            raise CheckpointError(f"{path}: it does not put texts between <s> and </s>.")
        self._tokenizer = tokenizer

    @property
    def vocabulary(self) -> int:
        """Number of tokens; the encoder needs as many embeddings at least."""
        return self._tokenizer.get_vocab_size()

    def encode(self, texts: Texts) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of a text or a batch of texts. An empty text is ``<s>`` and ``</s>`` alone.

        Returns:
            The ids and the mask, both (batch, tokens of the longest) int64. The mask is 1 at a
            text's own tokens and 0 at the padding.
        """
        texts = as_texts(texts)
        if not len(texts):
            raise UsageError(f"a list of at least one text is needed, not {texts!r}.")
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise UsageError(f"text {index} is not text but of type {type(text).__name__}.")
            if not _is_unicode(text):
                raise UsageError(f"text {index} is not valid Unicode: {text!r}.")
        encoded = self._tokenizer.encode_batch(list(texts))
        ids = np.array([each.ids for each in encoded], dtype=np.int64)
        mask = np.array([each.attention_mask for each in encoded], dtype=np.int64)
        return ids, mask


def _is_unicode(text: str) -> bool:
    """Whether the text is free of lone surrogates, which broken decoders leave."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
