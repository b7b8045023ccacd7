"""The LAVIS caption processor and the tokenizers."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qure.errors import BadInput
from qure.models.text import ADDED_TOKEN, CaptionTokenizer, clean_caption

CAPTIONS = ["a red dress with long sleeves", "blue shirt, polka-dot!", "is shorter"]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Is RED", "is red"),
        ('a.b!c"d(e)f*g#h:i;j~k', "a b c d e f g h i j k"),
        ("kept, 'quoted' & 50% - as/is?", "kept, 'quoted' & 50% - as/is?"),
        ("  many \t\n  spaces  ", "many spaces"),
        (".", ""),
        ("", ""),
        (" ".join(str(number) for number in range(60)), " ".join(str(number) for number in range(50))),
    ],
)
def test_caption_processor(text, cleaned):
    assert clean_caption(text) == cleaned


@given(st.text())
def test_cleaning_twice_changes_nothing(text):
    assert clean_caption(clean_caption(text)) == clean_caption(text)


def test_word_level_scheme():
    tokenizer = CaptionTokenizer.build_word_level(CAPTIONS, 8)
    ids, mask = tokenizer(["A red shirt.", "unheard words"])
    assert ids.dtype == mask.dtype == torch.int64
    assert tokenizer.tokens(ids[0]) == ["[CLS]", "a", "red", "shirt", "[SEP]", "[PAD]", "[PAD]", "[PAD]"]
    assert tokenizer.tokens(ids[1, :4]) == ["[CLS]", "[UNK]", "[UNK]", "[SEP]"]
    assert mask.tolist() == [[1, 1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0]]
    assert ids[0, -1] == 0
    assert tokenizer.tokens([tokenizer.vocabulary_size - 1]) == [ADDED_TOKEN]
    assert tokenizer.tokens([tokenizer.vocabulary_size]) == [None]


def test_text_is_cut_to_length_with_its_end_mark():
    tokenizer = CaptionTokenizer.build_word_level(CAPTIONS, 5)
    ids, mask = tokenizer(["red dress with long sleeves"])
    assert tokenizer.tokens(ids[0]) == ["[CLS]", "red", "dress", "with", "[SEP]"]
    assert mask.all()


def test_no_texts_and_empty_text():
    tokenizer = CaptionTokenizer.build_word_level(CAPTIONS, 5)
    assert tokenizer([])[0].shape == (0, 5)
    assert tokenizer([""])[1].tolist() == [[1, 1, 0, 0, 0]]


def test_vocabulary_does_not_depend_on_the_order_of_captions():
    forward, backward = (CaptionTokenizer.build_word_level(order, 5).to_json() for order in (CAPTIONS, CAPTIONS[::-1]))
    assert forward == backward


def test_saved_and_loaded_is_the_same(tmp_path):
    tokenizer = CaptionTokenizer.build_word_level(CAPTIONS, 8)
    tokenizer.save(tmp_path / "tokenizer")
    for folder in (tmp_path, tmp_path / "tokenizer"):
        loaded = CaptionTokenizer.load(folder)
        assert loaded.to_json() == tokenizer.to_json()
        assert loaded.text_tokens == 8
        assert torch.equal(loaded(CAPTIONS)[0], tokenizer(CAPTIONS)[0])


def test_bert_scheme_adds_lavis_token_behind_the_vocabulary(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "dress", "##es", "poll"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    tokenizer = CaptionTokenizer.from_bert_folder(tmp_path, 8)
    ids, mask = tokenizer(["Red dresses [DEC]"])
    assert tokenizer.vocabulary_size == len(words) + 1
    assert tokenizer.tokens([len(words)]) == [ADDED_TOKEN]
    assert tokenizer.tokens(ids[0, :5]) == ["[CLS]", "red", "dress", "##es", "[UNK]"]
    assert mask.shape == (1, 8)


@pytest.mark.parametrize(
    ("content", "reason"),
    [("red\n[UNK]\n[CLS]\n[SEP]\n", r"lacks \[PAD\]"), ("red\n[PAD]\n[UNK]\n[CLS]\n[SEP]\n", r"\[PAD\] has id 1")],
)
def test_vocabulary_of_another_scheme_is_refused(tmp_path, content, reason):
    (tmp_path / "vocab.txt").write_text(content)
    with pytest.raises(BadInput, match=reason):
        CaptionTokenizer.from_bert_folder(tmp_path, 8)


def test_folder_without_tokenizer_is_refused(tmp_path):
    with pytest.raises(BadInput, match="hf download"):
        CaptionTokenizer.from_bert_folder(tmp_path, 8)
    with pytest.raises(BadInput, match="does not exist"):
        CaptionTokenizer.load(tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "not json"])
def test_damaged_tokenizer_is_refused_by_name(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    for read in (CaptionTokenizer.load, lambda folder: CaptionTokenizer.from_bert_folder(folder, 8)):
        with pytest.raises(BadInput, match=r"tokenizer\.json"):
            read(tmp_path)


def test_a_tokenizer_without_a_length_names_the_way_to_read_it(tmp_path):
    tokenizer = json.loads(CaptionTokenizer.build_word_level(CAPTIONS, 8).to_json())
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer | {"truncation": None}))
    with pytest.raises(BadInput, match=r"tokenizer\.json: the tokenizer has no fixed length\. .*from_bert_folder"):
        CaptionTokenizer.load(tmp_path)


def test_an_interruption_is_no_damaged_tokenizer(tmp_path, monkeypatch):
    class Interrupted:
        @staticmethod
        def from_str(_):
            raise KeyboardInterrupt

    CaptionTokenizer.build_word_level(CAPTIONS, 8).save(tmp_path)
    monkeypatch.setattr("qure.models.text.Tokenizer", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        CaptionTokenizer.load(tmp_path)
