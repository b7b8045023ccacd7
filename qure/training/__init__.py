"""Training: loss, data order, loop, checkpoints, data parallel. The stage is `qure.training.stage.train`."""
