"""The pre-training learns, does the same twice, and leaves a frozen tower and the published temperature."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from qure.backbone import pretraining
from qure.backbone.pretraining import CaptionedImages, pretrain
from qure.config import BackboneSettings, PretrainingSettings, QFormerDimensions, VisionDimensions
from qure.errors import StageFailed
from qure.images import normalise
from qure.models.build import build_catalogue_model
from qure.models.model import QureModel
from qure.models.relevance import relevance

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
PLACES = {"top left": (0, 0), "top right": (0, 8), "bottom left": (8, 0), "bottom right": (8, 8)}
SETTINGS = BackboneSettings(
    vision=VisionDimensions(image_size=16, patch_size=8, width=32, layers=1, heads=2),
    qformer=QFormerDimensions(
        hidden=32, layers=2, heads=2, intermediate=32, query_tokens=4, embedding=16, text_tokens=10
    ),
)
SHORT = PretrainingSettings(steps=12, batch_size=8, least_recall_at_5=0.0)


def squares(count: int) -> CaptionedImages:
    """A coloured square in one of four corners on grey noise."""
    kinds = list(itertools.product(COLOURS, PLACES))
    noise = np.random.default_rng(0)
    pixels, captions, groups = [], [], []
    for number in range(count):
        colour, place = kinds[(number + number // 20) % len(kinds)]  # every 20th, held out, is of another kind
        top, left = PLACES[place]
        image = noise.integers(90, 160, (16, 16, 3), dtype=np.uint8)
        image[top : top + 8, left : left + 8] = COLOURS[colour]
        pixels.append(image)
        captions.append(f"a {colour} square in the {place} corner")
        groups.append("ab"[number % 40 < 20])
    return CaptionedImages(np.stack(pixels), captions, groups)


def trained(
    images: CaptionedImages, settings: PretrainingSettings, seed: int = 0
) -> tuple[QureModel, dict[str, float]]:
    model = build_catalogue_model(SETTINGS, images.captions, seed)
    return model, pretrain(model, images, settings, seed)


def test_captions_find_images_that_were_not_trained_on():
    images = squares(16 * 21)
    _, metrics = trained(images, PretrainingSettings(steps=140, batch_size=16, learning_rate=3e-3))
    assert metrics["held_out_images"] == 16
    # Each of the 16 held-out images is the only one of its kind: guessing finds 1 in 16, and 5 in 16 among five.
    assert metrics["held_out_recall_at_5"] >= 0.9
    assert metrics["held_out_recall_at_1"] >= 0.18
    assert metrics["in_batch_accuracy"] > 0.3


def test_a_pretraining_that_has_not_learned_fails_and_says_what_to_do():
    images = squares(16 * 21)
    with pytest.raises(
        StageFailed, match=r"has not learned: \d+ % of 16 held-out captions .* guessing finds 31 %"
    ) as said:
        trained(images, PretrainingSettings(steps=1, batch_size=16, least_recall_at_5=0.9))
    assert said.value.exit_code == 1
    for word in ("params.yaml", "steps", "seed", "learning_rate", "least_recall_at_5"):
        assert word in str(said.value)


def test_too_large_steps_are_noticed_by_the_default_settings():
    """At ten times the rate all images end alike: what happened to some seeds with twice the rate."""
    images = squares(16 * 21 * 4)
    with pytest.raises(StageFailed, match="has not learned"):
        trained(images, PretrainingSettings(steps=60, batch_size=16, learning_rate=0.1))


def test_the_curve_is_told(monkeypatch, caplog):
    monkeypatch.setattr(pretraining, "CURVE_EVERY", 5)
    monkeypatch.setattr(pretraining, "_LOGGED_EVERY", 5)
    caplog.set_level("INFO", pretraining.__name__)
    told = []
    images = squares(16 * 21)
    model = build_catalogue_model(SETTINGS, images.captions, 0)
    metrics = pretrain(model, images, SHORT, 0, lambda step, values: told.append((step, dict(values))))
    assert [step for step, _ in told] == [5, 10]
    assert set(told[0][1]) == {"in_batch_accuracy", "held_out_recall_at_1", "held_out_recall_at_5"}
    assert [record.message for record in caplog.records] == [
        f"pre-training, step {step} of 12: {100 * values['in_batch_accuracy']:.0f} % of captions "
        "find their image among 8"
        for step, values in told
    ]
    quiet = build_catalogue_model(SETTINGS, images.captions, 0)
    assert pretrain(quiet, images, SHORT, 0) == metrics, "looking on must change nothing"


def test_the_learning_rate_grows_for_a_fifth_and_falls_to_nothing():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    rates = []
    for step in range(100):
        pretraining._set_learning_rate(optimizer, PretrainingSettings(steps=100, learning_rate=1.0), step)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[0] == pytest.approx(0.05)
    assert int(np.argmax(rates)) in (18, 19, 20)
    assert 0 < rates[-1] < 0.001


def test_everything_but_the_unused_head_is_trained_and_then_frozen_again():
    images = squares(40)
    before = build_catalogue_model(SETTINGS, images.captions, seed=0).state_dict()
    model, _ = trained(images, SHORT)
    unchanged = {name for name, tensor in model.state_dict().items() if torch.equal(tensor, before[name])}
    # [DEC] and the unused rows aside, only these: the head, and the temperature, which goes back to its start
    assert unchanged == {"itm_head.weight", "itm_head.bias", "temperature"}
    assert not any(parameter.requires_grad for parameter in model.vision.parameters())
    assert not any(parameter.requires_grad for parameter in model.itm_head.parameters())
    assert all(parameter.requires_grad for parameter in model.qformer.parameters())
    assert not model.training


def test_temperature_starts_anew_and_is_reported():
    model, metrics = trained(squares(40), SHORT)
    assert model.temperature.item() == pytest.approx(0.07)
    assert metrics["learned_temperature"] != pytest.approx(0.07, abs=1e-6)


def test_same_arguments_give_the_same_bits_whatever_the_thread_count():
    images, threads = squares(40), torch.get_num_threads()
    try:
        results = []
        for count in (1, 3):
            torch.set_num_threads(count)
            torch.manual_seed(count)  # the caller's random state must not matter either
            results.append(trained(images, SHORT))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    (first, metrics), (second, same_metrics) = results
    assert metrics == same_metrics
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert not torch.are_deterministic_algorithms_enabled()


def test_parts_side_by_side_have_the_gradients_of_the_whole_batch():
    images = squares(40)
    model = build_catalogue_model(SETTINGS, images.captions, seed=0)
    model.vision.requires_grad_(True)
    pairs, rows = pretraining._pairs(model, images), torch.arange(11)
    with pretraining._workers() as pool:
        loss, accuracy = pretraining._backward(model, pairs, rows, pool)
    split = {name: parameter.grad for name, parameter in model.named_trainable_parameters()}
    model.zero_grad()
    features = model.vision(pixel_values=normalise(pairs.pixels[rows])).last_hidden_state
    logits = (
        relevance(model.encode_texts(pairs.ids[rows], pairs.mask[rows]), model.encode_images(features))
        / model.temperature
    )
    expected = (cross_entropy(logits, rows) + cross_entropy(logits.T, rows)) / 2
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=1e-5)
    assert accuracy == pytest.approx((logits.argmax(dim=1) == rows).float().mean().item())
    for name, parameter in model.named_trainable_parameters():
        torch.testing.assert_close(split[name], parameter.grad, atol=1e-5, rtol=1e-4, msg=name)


def test_another_seed_gives_another_model():
    images = squares(40)
    first, second = (trained(images, SHORT, seed)[0] for seed in (0, 1))
    assert not torch.equal(first.text_proj.weight, second.text_proj.weight)


def test_batches_are_of_one_group_as_often_as_meant_and_never_held_out():
    images = squares(400)
    pairs = pretraining._pairs(build_catalogue_model(SETTINGS, images.captions, 0), images)
    draws = np.random.Generator(np.random.Philox(0))
    batches = [pretraining._batch(draws, pairs, 8).numpy() for _ in range(500)]
    alone = [len({images.groups[row] for row in rows}) == 1 for rows in batches]
    assert 0.54 < np.mean(alone) < 0.66
    assert not set(np.concatenate(batches)) & set(pairs.held_out.tolist())
    assert all(len(set(rows)) == 8 for rows in batches)


def test_fewer_images_than_a_batch():
    model, metrics = trained(squares(5), PretrainingSettings(steps=2, batch_size=64))
    assert metrics["held_out_images"] == 0
    assert metrics["held_out_recall_at_1"] == 0.0
    assert torch.isfinite(model.text_proj.weight).all()


def test_model_without_vision_tower_is_refused():
    model = QureModel(build_catalogue_model(SETTINGS, ["a"], 0).config, vision=False)
    with pytest.raises(ValueError, match="vision tower"):
        pretrain(model, squares(5), SHORT, 0)
