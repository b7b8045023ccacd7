"""What the machine could do at best, and how far its results are from those of a CPU."""

import copy
from typing import Any

import torch

from benchmarks.gpu.measuring import distance, median_seconds, new_model, text
from benchmarks.gpu.sizes import Sizes
from qure.models.precision import PrecisionPolicy


def machine(sizes: Sizes, device: torch.device) -> dict[str, float]:
    """The two ceilings: matrix products and memory."""
    edge = 8192 if device.type == "cuda" else 256
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    one, other = (torch.randn(edge, edge, device=device, dtype=dtype) for _ in range(2))
    product = median_seconds(lambda: one @ other, device)
    copied = torch.empty_like(one)
    copy = median_seconds(lambda: copied.copy_(one), device)
    return {
        "matmul_tflops": round(2 * edge**3 / product / 1e12, 1),
        "copy_gb_per_s": round(2 * one.numel() * one.element_size() / copy / 1e9, 1),
    }


def parity(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Relative difference to the CPU in fp32 of query and image embeddings and of the tower's features."""
    model = new_model(sizes.config, device)
    reference = copy.deepcopy(model).to("cpu")
    shape = (4, sizes.config.vision.tokens, sizes.config.vision.width)
    features, pixels = torch.randn(shape), torch.randn(2, 3, *[sizes.config.vision.image_size] * 2)
    ids, mask = text(4, sizes.config)
    with torch.no_grad():
        wanted = {
            "query": reference.encode_queries(features, ids, mask),
            "image": reference.encode_images(features),
            "features": reference.encode_vision(pixels),
        }
    found: dict[str, Any] = {}
    for precision in ("fp32", "fp16", "bf16"):
        if device.type == "cpu" and precision == "fp16":
            continue
        with torch.no_grad(), PrecisionPolicy.of(precision, device).autocast():  # type: ignore[arg-type]
            got = {
                "query": model.encode_queries(features.to(device), ids.to(device), mask.to(device)),
                "image": model.encode_images(features.to(device)),
                "features": model.encode_vision(pixels.to(device)),
            }
        found[precision] = {name: distance(got[name].float().cpu(), wanted[name]) for name in wanted}
    return found
