"""Every public caption becomes the text and the token ids that the published classes give.

What those classes do (LAVIS's caption processor, BERT's word pieces) is written out here once more, plainly and from
their descriptions, so that the two have nothing in common but the files.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from qure.benchmarks import get_benchmark
from qure.benchmarks.base import Scope
from qure.benchmarks.hp_fashioniq.files import read_pairs
from qure.models.text import CaptionTokenizer, clean_caption

TEXT_TOKENS = 32


def published_texts(annotations: Path) -> Iterator[str]:
    """FashionIQ's two captions as the published code joins them, CIRR's as it stands, CIRCO's behind its prompt."""
    for split in ("train", "val", "test"):
        for category in ("dress", "shirt", "toptee"):
            for row in json.loads((annotations / f"fashioniq/captions/cap.{category}.{split}.json").read_text()):
                first, second = (caption.strip(".?, ") for caption in row["captions"])
                yield f"{first.capitalize()} and {second}"
    for split in ("val", "test1"):
        rows = json.loads((annotations / f"cirr/captions/cap.rc2.{split}.json").read_text())
        yield from (row["caption"] for row in rows)
    for split in ("val", "test"):
        rows = json.loads((annotations / f"circo/annotations/{split}.json").read_text())
        yield from (f"a photo of $ that {row['relative_caption']}" for row in rows)


def own_texts(annotations: Path) -> Iterator[str]:
    splits = {"fashioniq": ("train", "val", "test"), "cirr": ("val", "test1"), "circo": ("val", "test")}
    for name, asked in splits.items():
        benchmark = get_benchmark(name)
        for split in asked:
            read = benchmark.read(annotations / name, split, Scope(candidates=()))
            yield from (question.text for question in read.questions)


def processed(text: str) -> str:
    """LAVIS's caption processor."""
    text = re.sub(r"([.!\"()*#:;~])", " ", text.lower())
    text = re.sub(r"\s{2,}", " ", text).rstrip("\n").strip(" ")
    words = text.split(" ")
    return " ".join(words[:50]) if len(words) > 50 else text


def basic_tokens(text: str) -> list[str]:
    """BERT's words: lower case without accents, punctuation apart."""
    return "".join(map(_basic, unicodedata.normalize("NFD", text.lower()))).split()


@cache
def _basic(character: str) -> str:
    """Nothing of an accent, spaces around punctuation."""
    if unicodedata.category(character) == "Mn":
        return ""
    return f" {character} " if _is_punctuation(character) else character


def _is_punctuation(character: str) -> bool:
    ascii_sign = character.isascii() and character.isprintable() and not character.isalnum() and character != " "
    return ascii_sign or unicodedata.category(character).startswith("P")


def word_pieces(word: str, vocabulary: dict[str, int]) -> list[int]:
    """BERT's word pieces: always the longest that fits."""
    pieces, start = [], 0
    while start < len(word):
        ends = range(len(word), start, -1)
        tokens = (("##" if start else "") + word[start:end] for end in ends)
        found = next(((token, len(token) - 2 * bool(start)) for token in tokens if token in vocabulary), None)
        if found is None:
            return [vocabulary["[UNK]"]]
        pieces.append(vocabulary[found[0]])
        start += found[1]
    return pieces


def vocabulary_of(texts: Iterable[list[str]]) -> list[str]:
    """A vocabulary in which many of the texts' words are whole, many are in pieces, and a few are unknown."""
    words = Counter(word for text in texts for word in text)
    frequent = [word for word, count in words.most_common(1500) if len(word) > 1]
    letters = sorted({letter for word, count in words.items() if count > 1 for letter in word})
    endings = ["##s", "##ed", "##ing", "##less", "##er", "##est", *(f"##{letter}" for letter in letters)]
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *endings, *sorted(frequent)]


def test_every_public_caption_is_processed_and_tokenized_as_published(annotations: Path, tmp_path: Path) -> None:
    published, own = list(published_texts(annotations)), list(own_texts(annotations))
    assert len(own) == 39_483
    assert own == published
    clean = [processed(text) for text in published]
    assert [clean_caption(text) for text in own] == clean

    texts = [basic_tokens(text) for text in clean]
    tokens = vocabulary_of(texts)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (tmp_path / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    ids, mask = CaptionTokenizer.from_bert_folder(tmp_path, TEXT_TOKENS)(own)
    pieces = cache(lambda word: tuple(word_pieces(word, vocabulary)))
    seen: Counter[int] = Counter()
    for text, found, valid in zip(texts, ids.tolist(), mask.tolist(), strict=True):
        words = [piece for word in text for piece in pieces(word)]
        expected = [vocabulary["[CLS]"], *words[: TEXT_TOKENS - 2], vocabulary["[SEP]"]]
        assert found == expected + [0] * (TEXT_TOKENS - len(expected)), text
        assert valid == [1] * len(expected) + [0] * (TEXT_TOKENS - len(expected)), text
        seen.update(expected)
    assert seen[vocabulary["[UNK]"]], "some words are unknown to it"
    assert sum(seen[vocabulary[token]] for token in tokens if token.startswith("##")) > 1000, "many are in pieces"


def test_published_sentences_of_hp_fashioniq_are_other_words_in_447_rows(annotations: Path) -> None:
    """The released evaluation feeds the stand-ins for characters to the model; undone, the rows are FashionIQ's own."""
    people = json.loads((annotations / "hp_fashioniq" / "hpfiq.json").read_text())
    raw = [one for sets in people.values() for content in sets.values() for one in content["sentences"]]
    pairs = read_pairs(annotations / "hp_fashioniq")
    other = [clean_caption(one) != clean_caption(pair.text) for one, pair in zip(raw, pairs, strict=True)]
    assert (len(pairs), sum(other)) == (3050, 447)

    own: dict[tuple[str, str | None], set[str]] = {}
    for split in ("train", "val"):
        for triplet in get_benchmark("fashioniq").read(annotations / "fashioniq", split).triplets:
            own.setdefault((triplet.reference, triplet.target), set()).add(clean_caption(triplet.text))
    as_published, exchanged = 0, 0
    for pair in pairs:
        known = own.get((pair.reference, pair.target), set())
        as_published += clean_caption(pair.text) in known
        exchanged += clean_caption(pair.text) not in known and clean_caption(pair.exchanged) in known
    assert as_published + exchanged == 3045
    assert exchanged == 1489
