"""Mine hard negatives with a trained model and look at what they are.

    python examples/mine_and_look.py --training-set fashioniq --output mined

Shows `mine`, what it says of itself (sizes, where the sets lie), and its two pictures. Reads what the demo leaves:
artifacts/<training set>/model and features, data/.
"""

import argparse
from pathlib import Path

import torch

from qure.config import NegativeSettings
from qure.datasets.validated import ValidatedData
from qure.features.store import FeatureStore
from qure.layout import Layout
from qure.models import QureModel
from qure.models.precision import PrecisionPolicy, default_device
from qure.negatives.plots import draw_ranks, draw_sorted_scores
from qure.negatives.statistics import findings
from qure.training.data import training_data
from qure.training.distributed import Processes
from qure.training.encoding import TrainingEncoder, evaluating
from qure.training.mining import mine_categories


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--training-set", default="fashioniq")
    parser.add_argument("--data", type=Path, default=Layout.data)
    parser.add_argument("--artifacts", type=Path, default=Layout.artifacts)
    parser.add_argument("--search-window", type=int, help="drops count inside so many ranks after the target only")
    parser.add_argument("--output", type=Path, default=Path("mined"))
    asked = parser.parse_args()

    layout, device = Layout(asked.data, asked.artifacts).of(asked.training_set), torch.device(default_device())
    model = QureModel.load(layout.model, device, vision=False)
    features = FeatureStore.open(layout.training_features, model.vision_fingerprint)
    validation = layout.validation if layout.validation.is_dir() else None
    triplets, corpora = ValidatedData(asked.data, validation).training(asked.training_set)
    assert model.tokenizer is not None  # a loaded model has one
    data = training_data(triplets, corpora, features, model.tokenizer)

    encoder = TrainingEncoder(model, features, PrecisionPolicy.of("fp32", device), Processes(0, 1, device))
    with evaluating(model):
        queries, candidates = encoder.queries(data), encoder.corpus(data)
    mining = mine_categories(queries, candidates, data, NegativeSettings(search_window=asked.search_window), device)

    seen = mining.statistics
    print(f"{seen['queries']} queries, {seen['size']['mean']:.0f} negatives each (median {seen['size']['q50']:.0f})")
    print(f"the median set begins {seen['first_after_target']['q50']:.0f} ranks after the target")
    print("\n".join(findings(seen)) or "nothing to worry about")
    asked.output.mkdir(parents=True, exist_ok=True)
    mining.hard.save(asked.output / "negatives.safetensors")
    draw_sorted_scores(mining.examples, asked.output / "scores.png", asked.training_set)
    draw_ranks(seen, asked.output / "ranks.png", asked.training_set)
    print(f"pictures: {asked.output}/scores.png, {asked.output}/ranks.png")


if __name__ == "__main__":
    main()
