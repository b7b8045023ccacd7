"""HP-FashionIQ against a straightforward computation from the file."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qure.benchmarks import get_benchmark
from qure.benchmarks.fashioniq import files as fashioniq_files
from qure.benchmarks.hp_fashioniq import files as files
from qure.benchmarks.hp_fashioniq import protocol as hp_fashioniq
from qure.config import EvaluationSettings
from qure.datasets.split import Split, exchanged_id
from qure.datasets.types import PreferencePair, Triplet
from qure.errors import BadInput
from qure.evaluation.ranking.embeddings import Embeddings
from qure.evaluation.statistics.results import Evaluation


def plain_rows(root: Path) -> Iterator[dict]:
    """Every row of the published file as a flat record."""
    for person, sets in json.loads((root / "hpfiq.json").read_text()).items():
        for question_set, content in sets.items():
            for row in range(len(content["sentences"])):
                first, second = content["retrieved_set1"][row], content["retrieved_set2"][row]
                yield {
                    "query_id": f"{person}/{question_set}/{row}",
                    "category": content["ref_img_paths"][row].split("/")[3],
                    "sets": [[Path(path).stem for path in part["img_path"]] for part in (first, second)],
                    "given": [int(first["user_score"]), int(second["user_score"])],
                    "preferred": int(content["preferred set"][row]),
                }


def agree(evaluation: Evaluation, root: Path, queries: Embeddings, gallery: Embeddings) -> None:
    vectors = dict(zip(gallery.ids, gallery.vectors.astype(np.float64), strict=True))
    asked = dict(zip(queries.ids, queries.vectors[:, 0].astype(np.float64), strict=True))
    judged = []
    scored = evaluation.per_query.set_index("query_id")
    for row in plain_rows(root):
        means = [np.mean([(vectors[image] @ asked[row["query_id"]]).max() for image in part]) for part in row["sets"]]
        assert scored.loc[row["query_id"], ["score_1", "score_2"]].tolist() == pytest.approx(means, abs=1e-6)
        consistent = row["given"][row["preferred"] - 1] >= row["given"][2 - row["preferred"]]
        judged.append((row["category"], means[0] > means[1], row["preferred"] == 1, consistent))

    def check(prefix: str, suffix: str, rows: list[tuple]) -> None:
        rate = [prefers for _, picks, prefers, _ in rows if picks]
        agreement = [picks == prefers for _, picks, prefers, _ in rows]
        expected = {"preference_rate": 100 * np.mean(rate), "agreement": 100 * np.mean(agreement)}
        for name, value in expected.items():
            assert evaluation.metrics[f"{prefix}{name}{suffix}"] == pytest.approx(value, abs=1e-9)

    for category in ("", "dress", "shirt", "toptee"):
        own = [row for row in judged if not category or row[0] == category]
        prefix = f"{category}_" if category else ""
        check(prefix, "", own)
        check(prefix, "_consistent", [row for row in own if row[3]])


def embeddings(root: Path, unit_embeddings: Callable[..., Embeddings], tokens: int) -> tuple[Embeddings, Embeddings]:
    rows = list(plain_rows(root))
    images = sorted({image for row in rows for part in row["sets"] for image in part})
    return unit_embeddings([row["query_id"] for row in rows], 1), unit_embeddings(images, 2, tokens)


@pytest.mark.parametrize("tokens", [1, 4])
def test_agrees_with_a_plain_computation(
    hp_fashioniq_root: Path, tokens: int, unit_embeddings: Callable[..., Embeddings], settings: EvaluationSettings
) -> None:
    queries, gallery = embeddings(hp_fashioniq_root, unit_embeddings, tokens)
    evaluation = hp_fashioniq.evaluate(files.read_pairs(hp_fashioniq_root), queries, gallery, settings=settings)
    agree(evaluation, hp_fashioniq_root, queries, gallery)
    assert 0 < evaluation.metrics["queries_consistent"] < evaluation.metrics["queries"] == 48
    assert evaluation.metrics["people"] == 6


def test_agrees_on_the_public_annotations(
    annotations: Path, unit_embeddings: Callable[..., Embeddings], settings: EvaluationSettings
) -> None:
    root = annotations / "hp_fashioniq"
    queries, gallery = embeddings(root, unit_embeddings, 2)
    evaluation = hp_fashioniq.evaluate(files.read_pairs(root), queries, gallery, settings=settings)
    counts = [evaluation.metrics[name] for name in ("queries", "queries_consistent", "people", "gallery_size")]
    assert counts == [3050, 3018, 61, 5322]
    assert evaluation.metrics["ties"] == 11, "in eleven rows both sets hold the same images"
    judged = evaluation.per_query
    untied = judged[judged["score_1"] != judged["score_2"]]
    assert np.isin(untied["agreement"], (0.0, 1.0)).all()
    assert (judged[judged["score_1"] == judged["score_2"]]["agreement"] == 0.5).all()
    picks = judged["score_1"] > judged["score_2"]
    assert evaluation.metrics["preference_rate"] == pytest.approx(100 * (judged["preferred"] == 1)[picks].mean())
    low, high = evaluation.intervals["agreement"]
    assert low < evaluation.metrics["agreement"] < high


def pair(number: int, preferred: int, scores: tuple[int, int], first: str, second: str) -> PreferencePair:
    return PreferencePair(
        f"user_1/question_set_1/{number}", "r", "t", "is red", "dress", "user_1", tuple(first), tuple(second),
        preferred, scores,
    )  # fmt: skip


def test_counts_by_hand(settings: EvaluationSettings) -> None:
    """Image a scores 1, b scores 0.5, c scores 0; sets of two."""
    gallery = Embeddings(["a", "b", "c"], np.array([[1.0], [0.5], [0.0]], dtype=np.float32))
    pairs = [
        pair(0, 1, (5, 1), "ab", "bc"),  # the model picks 1, the person too
        pair(1, 2, (1, 5), "ab", "bc"),  # the model picks 1, the person 2
        pair(2, 2, (5, 1), "bc", "ab"),  # the model picks 2, the person too, but scored it lower
        pair(3, 1, (3, 3), "ab", "ba"),  # a tie of the model; equal scores are consistent
    ]
    queries = Embeddings([one.query_id for one in pairs], np.ones((4, 1), dtype=np.float32))
    metrics = hp_fashioniq.evaluate(pairs, queries, gallery, settings=settings).metrics
    assert metrics["preference_rate"] == metrics["preference_rate_consistent"] == 50.0
    assert metrics["agreement"] == 100 * (1 + 0 + 1 + 0.5) / 4
    assert metrics["agreement_consistent"] == 100 * (1 + 0 + 0.5) / 3
    assert (metrics["queries"], metrics["queries_consistent"], metrics["ties"]) == (4, 3, 1)


def test_people_are_resampled_not_rows(
    hp_fashioniq_root: Path, unit_embeddings: Callable[..., Embeddings], settings: EvaluationSettings
) -> None:
    queries, gallery = embeddings(hp_fashioniq_root, unit_embeddings, 1)
    evaluation = hp_fashioniq.evaluate(files.read_pairs(hp_fashioniq_root), queries, gallery, settings=settings)
    generator = np.random.default_rng(settings.seed)
    people = [rows["agreement"].sum() for _, rows in evaluation.per_query.groupby("person", sort=False)]
    drawn = generator.integers(0, 6, size=(100, 6), dtype=np.int64)
    means = [100 * np.sum([people[place] for place in line]) / 48 for line in drawn]
    assert evaluation.intervals["agreement"] == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))


def test_missing_images_are_named(
    hp_fashioniq_root: Path, unit_embeddings: Callable[..., Embeddings], settings: EvaluationSettings
) -> None:
    queries, gallery = embeddings(hp_fashioniq_root, unit_embeddings, 1)
    with pytest.raises(BadInput, match=f"'{gallery.ids[0]}'"):
        hp_fashioniq.evaluate(
            files.read_pairs(hp_fashioniq_root), queries, unit_embeddings(gallery.ids[1:], 2), settings=settings
        )


def test_scores_of_sets_by_hand() -> None:
    """Image a scores 1, b 0.5, c 0, d -1 for the first query; the second query turns the signs."""
    gallery = Embeddings(["a", "b", "c", "d"], np.array([[1.0], [0.5], [0.0], [-1.0]], dtype=np.float32))
    pairs = [
        pair(0, 1, (3, 3), "ab", "bcd"),
        pair(1, 1, (3, 3), "ab", "bcd"),
        pair(2, 2, (3, 3), "aab", "c"),
    ]
    queries = Embeddings([one.query_id for one in pairs], np.array([[1.0], [-1.0], [2.0]], dtype=np.float32))
    first, second = hp_fashioniq.set_scores(pairs, queries, gallery)
    assert first.tolist() == pytest.approx([0.75, -0.75, 5 / 3])
    assert second.tolist() == pytest.approx([-0.5 / 3, 0.5 / 3, 0.0])
    assert first.dtype == second.dtype == np.float64


def test_the_order_of_captions_is_asked_both_ways(
    hp_fashioniq_root: Path, unit_embeddings: Callable[..., Embeddings], settings: EvaluationSettings
) -> None:
    queries, gallery = embeddings(hp_fashioniq_root, unit_embeddings, 2)
    pairs = files.read_pairs(hp_fashioniq_root)
    turned = [pair for pair in pairs if pair.exchanged]
    assert turned
    others = unit_embeddings([exchanged_id(pair.query_id) for pair in turned], 7)
    both = Embeddings([*queries.ids, *others.ids], np.concatenate([queries.vectors[:, 0], others.vectors[:, 0]]))
    asked = Split("answers", pairs=tuple(pairs)).questions
    assert sorted(question.query_id for question in asked) == sorted(both.ids)
    assert {q.query_id: q.text for q in asked}[exchanged_id(turned[0].query_id)] == turned[0].exchanged

    plain = hp_fashioniq.evaluate(pairs, queries, gallery, settings=settings)
    found = hp_fashioniq.evaluate(pairs, both, gallery, settings=settings)
    assert {name: found.metrics[name] for name in plain.metrics} == plain.metrics
    assert found.data_fingerprint == plain.data_fingerprint

    of_turned = dict(zip(others.ids, others.vectors[:, 0], strict=True))
    as_asked = dict(zip(queries.ids, queries.vectors[:, 0], strict=True))
    vectors = [of_turned.get(exchanged_id(pair.query_id), as_asked[pair.query_id]) for pair in pairs]
    alone = hp_fashioniq.evaluate(
        pairs, Embeddings([pair.query_id for pair in pairs], np.stack(vectors)), gallery, settings=settings
    )
    for name in ("preference_rate", "agreement"):
        assert found.metrics[f"{name}_exchanged"] == pytest.approx(alone.metrics[name], abs=1e-9)
        assert f"{name}_exchanged" in found.intervals
    changed = (alone.per_query["picks_1"] != plain.per_query["picks_1"]).mean()
    assert found.metrics["picks_changed_by_order"] == pytest.approx(100 * changed)


def test_ties_in_the_other_order_agree_by_half_too(
    hp_fashioniq_root: Path, unit_embeddings: Callable[..., Embeddings], settings: EvaluationSettings
) -> None:
    """A model that is lost once the captions are exchanged: every set scores the same."""
    queries, gallery = embeddings(hp_fashioniq_root, unit_embeddings, 2)
    pairs = files.read_pairs(hp_fashioniq_root)
    turned = [exchanged_id(pair.query_id) for pair in pairs if pair.exchanged]
    lost = np.zeros((len(turned), queries.dimension), dtype=np.float32)
    both = Embeddings([*queries.ids, *turned], np.concatenate([queries.vectors[:, 0], lost]))
    found = hp_fashioniq.evaluate(pairs, both, gallery, settings=settings)
    plain = found.per_query["agreement"].tolist()
    halves = [0.5 if pair.exchanged else own for pair, own in zip(pairs, plain, strict=True)]
    assert found.metrics["agreement_exchanged"] == pytest.approx(100 * np.mean(halves))
    changed = [bool(pair.exchanged) for pair in pairs]
    assert found.metrics["picks_changed_by_order"] == pytest.approx(100 * np.mean(changed))


def test_the_order_of_captions_can_be_chosen(
    hp_fashioniq_root: Path, unit_embeddings: Callable[..., Embeddings], settings: EvaluationSettings
) -> None:
    """Exchanged, the two orders' numbers change places; a query keeps its id, and the result says which order it is."""
    benchmark = get_benchmark("hp-fashioniq")
    published = benchmark.read(hp_fashioniq_root, "answers")
    turned = benchmark.ordered(published, hp_fashioniq_root, "exchanged")
    assert benchmark.ordered(published, hp_fashioniq_root, "file") == published
    assert benchmark.ordered(turned, hp_fashioniq_root, "exchanged") == published
    texts = {pair.query_id: pair.exchanged or pair.text for pair in published.pairs}
    assert {pair.query_id: pair.text for pair in turned.pairs} == texts

    # A vector depends on the text alone, as a model's does.
    known = {question.text: number for number, question in enumerate(published.questions)}
    vectors = unit_embeddings([str(number) for number in range(len(known))], 3).vectors[:, 0]
    gallery = unit_embeddings(published.images, 2)

    def judged(split: Split, order: str) -> Evaluation:
        asked = split.questions
        rows = np.stack([vectors[list(known).index(question.text)] for question in asked])
        chosen = settings.model_copy(update={"caption_order": order})
        queries = Embeddings([question.query_id for question in asked], rows)
        return benchmark.judge(split, queries, gallery, settings=chosen)

    as_published, other = judged(published, "file"), judged(turned, "exchanged")
    for name in ("preference_rate", "agreement"):
        assert other.metrics[name] == as_published.metrics[f"{name}_exchanged"]
        assert other.metrics[f"{name}_exchanged"] == as_published.metrics[name]
        assert other.metrics[name] != as_published.metrics[name]
    assert other.metrics["picks_changed_by_order"] == as_published.metrics["picks_changed_by_order"] > 0
    assert other.data_fingerprint != as_published.data_fingerprint
    assert "caption_order" not in as_published.details
    assert benchmark.notes(as_published) == []
    assert "exchanged against the published file" in benchmark.notes(other)[0]


def test_fashioniqs_own_order_of_captions(hp_fashioniq_root: Path) -> None:
    benchmark = get_benchmark("hp-fashioniq")
    published = benchmark.read(hp_fashioniq_root, "answers")
    one = next(pair for pair in published.pairs if pair.exchanged)
    asked = Triplet("shirt/0", one.reference, one.exchanged, target=one.target)
    assert files.in_fashioniqs_order([one], [asked]) == [replace(one, text=one.exchanged, exchanged=one.text)]
    assert files.in_fashioniqs_order([one], [replace(asked, text=one.text)]) == [one], "it is in this order already"
    assert files.in_fashioniqs_order([one], [replace(asked, text="is something else")]) == [one]
    assert files.in_fashioniqs_order([one], [replace(asked, target="another")]) == [one]

    with pytest.raises(BadInput, match=r"fashioniq.*does not exist"):
        benchmark.ordered(published, hp_fashioniq_root, "fashioniq")


def test_public_captions_in_fashioniqs_own_order(annotations: Path) -> None:
    benchmark = get_benchmark("hp-fashioniq")
    root = annotations / "hp_fashioniq"
    published = benchmark.read(root, "answers")
    ordered = benchmark.ordered(published, root, "fashioniq")
    turned = [one for one, other in zip(published.pairs, ordered.pairs, strict=True) if one != other]
    assert len(turned) == 1489


def test_public_sentences_are_fashioniqs_own_in_one_order_or_the_other(annotations: Path) -> None:
    """3,045 of 3,050 rows up to case and blanks; 447 sentences hold stand-ins for characters, which are undone."""

    def words(text: str) -> str:
        return " ".join(text.casefold().split())

    known: dict[tuple, set[str]] = {}
    for split in ("train", "val"):
        for triplet in fashioniq_files.read_triplets(annotations / "fashioniq", split, checked=False):
            known.setdefault((triplet.reference, triplet.target), set()).add(words(triplet.text))
    pairs = files.read_pairs(annotations / "hp_fashioniq")
    own = [words(pair.text) in known.get((pair.reference, pair.target), ()) for pair in pairs]
    turned = [words(pair.exchanged) in known.get((pair.reference, pair.target), ()) for pair in pairs]
    assert sum(one or other for one, other in zip(own, turned, strict=True)) == 3045
    assert sum(other and not one for one, other in zip(own, turned, strict=True)) == 1489
    assert {pair.category for pair in pairs} == {"shirt", "toptee"}
    people = json.loads((annotations / "hp_fashioniq" / "hpfiq.json").read_text())
    sentences = [one for sets in people.values() for content in sets.values() for one in content["sentences"]]
    assert sum(any(word in one for word in ("dotmark", "questionmark", "andmark")) for one in sentences) == 447
