"""Captions to tokens of one length, for batches."""

from pathlib import Path

import torch
from torch import Tensor

from ...errors import CheckpointError, MissingDependencyError
from ...reference.mulan.tokenizer import SPECIAL_TOKENS

CAPTION_TOKENS = 128  # at most; longer captions are cut


class CaptionTokenizer:
    """A ``tokenizer.json`` of XLM-RoBERTa's kind.

    Args:
        path: of the file.
        vocabulary: how many tokens the text encoder knows; any number when left out.

    Raises:
        CheckpointError: no such file, no tokenizer of that kind, or one of another text encoder.
        MissingDependencyError: the library ``tokenizers`` is not installed.
    """

    def __init__(self, path: Path, vocabulary: int | None = None) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise MissingDependencyError(
                "captions need the library tokenizers: pip install 'muqrt[train]'"
            ) from None
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing more specific
            raise CheckpointError(f"{path}: not a readable tokenizer.json ({error}).") from None
        found = [self._tokenizer.token_to_id(token) for token in SPECIAL_TOKENS]
        if found != list(range(len(SPECIAL_TOKENS))):
            raise CheckpointError(
                f"{path}: not a tokenizer of XLM-RoBERTa, where {', '.join(SPECIAL_TOKENS)} are 0 "
                f"to {len(SPECIAL_TOKENS) - 1}; here they are {found}."
            )
        if vocabulary is not None and self.vocabulary > vocabulary:
            raise CheckpointError(
                f"{path}: knows {self.vocabulary} tokens, the text encoder only {vocabulary}. "
                "Give the tokenizer that it was trained with."
            )
        self._tokenizer.enable_truncation(CAPTION_TOKENS)
        self._tokenizer.enable_padding(
            pad_id=SPECIAL_TOKENS.index("<pad>"), pad_token="<pad>", length=CAPTION_TOKENS
        )

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        size: int = self._tokenizer.get_vocab_size()
        return size

    def encode(self, text: str) -> tuple[Tensor, Tensor]:
        """One text's ids and mask, (CAPTION_TOKENS,) int64 each; the mask is 0 at the padding."""
        encoded = self._tokenizer.encode(text)
        return torch.tensor(encoded.ids), torch.tensor(encoded.attention_mask)
