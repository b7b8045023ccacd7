"""The whole recipe, projected."""

from typing import Any

from benchmarks.gpu.sizes import RECIPE


def projected(training_part: dict[str, Any], mining_part: dict[str, Any]) -> dict[str, Any]:
    """Minutes of FashionIQ's published recipe from the measured steps, encodings and minings."""
    found: dict[str, Any] = {}
    kinds = {"launched": "small_tiles", "graph": "large_tiles"}
    seconds_of = mining_part["fashioniq_category"]["seconds"]
    for name, measured in training_part.items():
        engine = name.split("_")[0]
        if not isinstance(measured, dict) or engine not in kinds or "step_ms" not in measured or "batch" in name:
            continue
        steps = RECIPE["epochs"] * 3 * RECIPE["triplets"] / measured["images_per_second"]
        encoded = (RECIPE["triplets"] + RECIPE["corpus"]) / measured["encoding_images_per_second"]
        mined = RECIPE["categories"] * min(seconds_of[kinds[engine]])
        found[name] = {
            "minutes": round((steps + RECIPE["minings"] * (encoded + mined)) / 60, 2),
            "of_them_minings": round(RECIPE["minings"] * (encoded + mined) / 60, 2),
        }
    for precision in ("bf16", "fp16"):
        if f"launched_{precision}" in found and f"graph_{precision}" in found:
            found[f"times_faster_{precision}"] = round(
                found[f"launched_{precision}"]["minutes"] / found[f"graph_{precision}"]["minutes"], 2
            )
    return found
