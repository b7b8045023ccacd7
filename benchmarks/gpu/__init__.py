"""One GPU: what it computes against a CPU, how fast it trains, mines and precomputes, today's way beside the other.

    python -m benchmarks.gpu [--small] [--only training,mining] [--profile]

Needs torch, transformers, pydantic and what a plain GPU image has besides; neither MLflow nor Great Expectations.
Published dimensions, random weights, synthetic data; under six minutes on one GPU. `--small` runs the same code with
a tiny model on whatever is there, to see that the results agree. The result goes to benchmarks/results/gpu.json.

Both sides of a ratio run in one process. "launched" is a training step as it was: every operation launched on its own,
dropout masks of the whole batch, attention written out, features cast at every use. "eager" has the leaner model and
fused attention, "graph" is the same step captured as one CUDA graph.
"""
