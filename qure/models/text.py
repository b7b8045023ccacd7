"""Text as the model reads it: the LAVIS caption processor, then a BERT-style tokenizer cut and padded to one length."""

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from qure.errors import BadInput
from qure.files import atomic_file

#: [PAD] has id 0 in every vocabulary; LAVIS adds [DEC] behind the last of BERT's.
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
ADDED_TOKEN = "[DEC]"
FILE_NAME = "tokenizer.json"

_MARKS = re.compile(r"[.!\"()*#:;~]")
_SPACES = re.compile(r"\s{2,}")
_MAX_WORDS = 50


def clean_caption(text: str) -> str:
    """The LAVIS caption processor: lower case, marks to spaces, single spaces, at most 50 words.

    Applying it twice changes nothing.

    >>> clean_caption('  Is BLUE, not "red"... and:shorter! ')
    'is blue, not red and shorter'
    """
    spaced = _SPACES.sub(" ", _MARKS.sub(" ", text.lower())).strip()
    return " ".join(spaced.split(" ")[:_MAX_WORDS])


def longest_text(attention_mask: torch.Tensor) -> int:
    """Tokens of the longest of some texts; what lies behind them is padding in all of them, and need not be computed.

    Args:
        attention_mask: (B, L) from `CaptionTokenizer`, B >= 1.

    >>> longest_text(torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]]))
    3
    """
    return int(attention_mask.sum(dim=1).max())


class CaptionTokenizer:
    """Texts -> token ids of one fixed length: `[CLS] text [SEP] [PAD] ...`.

    Args:
        tokenizer: vocabulary and splitting rules, with the special tokens above and `[DEC]`.
        text_tokens: length every text is cut or padded to (32 as published).
    """

    def __init__(self, tokenizer: Tokenizer, text_tokens: int) -> None:
        self.text_tokens = text_tokens
        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.enable_truncation(text_tokens)
        self._tokenizer.enable_padding(length=text_tokens, pad_id=0, pad_token="[PAD]")

    def __call__(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Cleans and tokenizes texts.

        Returns:
            ids and attention mask (1 = token, 0 = padding), both int64 (len(texts), text_tokens).
        """
        encoded = self._tokenizer.encode_batch([clean_caption(text) for text in texts])
        shape = (len(encoded), self.text_tokens)
        ids = torch.tensor([one.ids for one in encoded], dtype=torch.int64).reshape(shape)
        mask = torch.tensor([one.attention_mask for one in encoded], dtype=torch.int64).reshape(shape)
        return ids, mask

    @property
    def vocabulary_size(self) -> int:
        """Number of ids, special and added tokens included."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def tokens(self, ids: Sequence[int]) -> list[str | None]:
        """The tokens behind ids, for messages and tests; None for an id that there is not."""
        return [self._tokenizer.id_to_token(int(one)) for one in ids]

    def to_json(self) -> str:
        """The tokenizer as text: what `save` writes and fingerprints cover."""
        return json.dumps(json.loads(self._tokenizer.to_str()), ensure_ascii=False, sort_keys=True, indent=1) + "\n"

    def save(self, folder: Path) -> None:
        """Writes `tokenizer.json` into a folder."""
        with atomic_file(Path(folder) / FILE_NAME) as temporary:
            temporary.write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "CaptionTokenizer":
        """Reads what `save` wrote; `folder` is the tokenizer's own or a model's that holds `tokenizer/`.

        Raises:
            BadInput: no tokenizer there, or one that this class has not written.
        """
        folder = Path(folder)
        file = folder / FILE_NAME if (folder / FILE_NAME).is_file() else folder / "tokenizer" / FILE_NAME
        tokenizer = _read(file)
        if tokenizer.truncation is None:
            raise BadInput("the tokenizer has no fixed length", file=file, remedy="Read it with from_bert_folder")
        return cls._tried(tokenizer, int(tokenizer.truncation["max_length"]), file)

    @classmethod
    def from_bert_folder(cls, folder: Path, text_tokens: int) -> "CaptionTokenizer":
        """A BERT tokenizer as the Hub publishes it (`tokenizer.json` or `vocab.txt`), with LAVIS's `[DEC]` added.

        Raises:
            BadInput: neither file is there, a file cannot be read, or `[PAD]` is not id 0.
        """
        folder = Path(folder)
        if (folder / FILE_NAME).is_file():
            tokenizer, file = _read(folder / FILE_NAME), folder / FILE_NAME
        elif (folder / "vocab.txt").is_file():
            tokenizer, file = _from_vocabulary_file(folder / "vocab.txt"), folder / "vocab.txt"
        else:
            raise BadInput(
                "no tokenizer.json and no vocab.txt in this folder",
                file=folder,
                remedy="Fetch one with: hf download bert-base-uncased tokenizer.json vocab.txt --local-dir FOLDER",
            )
        missing = [token for token in SPECIAL_TOKENS if tokenizer.token_to_id(token) is None]
        if missing:
            raise BadInput(f"the vocabulary lacks {', '.join(missing)}", file=file)
        if tokenizer.token_to_id("[PAD]") != 0:
            raise BadInput(f"[PAD] has id {tokenizer.token_to_id('[PAD]')}, expected 0", file=file)
        tokenizer.add_special_tokens([ADDED_TOKEN])
        return cls._tried(tokenizer, text_tokens, file)

    @classmethod
    def _tried(cls, tokenizer: Tokenizer, text_tokens: int, file: Path) -> "CaptionTokenizer":
        """The tokenizer, once it has taken some texts: what is wrong with a file may show only then."""
        with _bad_input("not a usable tokenizer", file):
            made = cls(tokenizer, text_tokens)
            made(["is red", "", "\u00e9 ?! 7"])
        return made

    @classmethod
    def build_word_level(cls, captions: Iterable[str], text_tokens: int) -> "CaptionTokenizer":
        """A tokenizer whose vocabulary is the words of `captions`, for models trained from scratch.

        Ids do not depend on the captions' order: special tokens, words sorted, `[DEC]` last, as in LAVIS.
        """
        splitter = BertPreTokenizer()
        normalizer = BertNormalizer(lowercase=True)
        words = {
            word
            for caption in captions
            for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(clean_caption(caption)))
        }
        vocabulary = {token: index for index, token in enumerate([*SPECIAL_TOKENS, *sorted(words)])}
        tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
        tokenizer.normalizer = normalizer
        tokenizer.pre_tokenizer = splitter
        tokenizer.post_processor = _sentence_template(tokenizer)
        tokenizer.add_special_tokens([*SPECIAL_TOKENS, ADDED_TOKEN])
        return cls(tokenizer, text_tokens)


def _read(file: Path) -> Tokenizer:
    if not file.is_file():
        raise BadInput("the file does not exist", file=file)
    with _bad_input("not a tokenizer", file):
        return Tokenizer.from_str(file.read_text(encoding="utf-8"))


def _from_vocabulary_file(file: Path) -> Tokenizer:
    from tokenizers.implementations import BertWordPieceTokenizer

    with _bad_input("not a BERT vocabulary", file):
        return Tokenizer.from_str(BertWordPieceTokenizer(str(file), lowercase=True).to_str())


@contextlib.contextmanager
def _bad_input(problem: str, file: Path) -> Iterator[None]:
    """The library in Rust raises plain Exception; where it panics, something that is none."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise BadInput(f"{problem}: {error}", file=file) from None


def _sentence_template(tokenizer: Tokenizer) -> TemplateProcessing:
    marks = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    return TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=marks)
