"""Add a way to choose negatives, and compare what it chooses with the published strategies before any training.

    python examples/add_a_strategy.py --margin 0.1

The strategy is the function in examples/close_scores.py. Shows per strategy how many negatives a query gets, where
they begin, and, where true relevance is known as in the rendered catalogue, how many draws are false negatives. To
train with it, name it in params.yaml; to compare trained models, in the arms of `qure ablate` (docs/strategies.md).
"""

import argparse
from pathlib import Path

from qure.ablation.found import NegativesOfModels
from qure.config import TrainingSettings, with_code
from qure.datasets.validated import ValidatedData
from qure.features.store import FeatureStore
from qure.layout import Layout
from qure.models import QureModel
from qure.models.precision import default_device
from qure.training.data import training_data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--training-set", default="fashioniq")
    parser.add_argument("--data", type=Path, default=Layout.data)
    parser.add_argument("--artifacts", type=Path, default=Layout.artifacts)
    parser.add_argument("--margin", type=float, default=0.05)
    asked = parser.parse_args()

    layout = Layout(asked.data, asked.artifacts).of(asked.training_set)
    model = QureModel.load(layout.model, default_device(), vision=False)
    features = FeatureStore.open(layout.training_features, model.vision_fingerprint)
    validation = layout.validation if layout.validation.is_dir() else None
    triplets, corpora = ValidatedData(asked.data, validation).training(asked.training_set)
    assert model.tokenizer is not None  # a loaded model has one
    data = training_data(triplets, corpora, features, model.tokenizer)
    mined = NegativesOfModels(asked.training_set, asked.data, data, corpora, features)

    own = {"strategy": "close_scores.py:close_scores", "options": {"margin": asked.margin}}
    print(f"{'strategy':>30}  {'size':>7}  {'first':>6}  {'false negatives':>15}")
    for negatives in ({"strategy": "between_steep_drops"}, {"strategy": "after_target_top_k", "top_k": 20}, own):
        recipe = with_code({"precision": "fp32", "negatives": negatives}, Path(__file__).parent)
        found = mined.of(model, TrainingSettings.model_validate(recipe))
        false = found["false_negatives"]
        share = "unknown" if false is None else f"{false:.1%}"
        print(f"{negatives['strategy']:>30}  {found['size']:7.1f}  {found['first_after_target']:6.0f}  {share:>15}")


if __name__ == "__main__":
    main()
