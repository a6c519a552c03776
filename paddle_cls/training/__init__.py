"""Training: the loop over batches, optimizers, and where a run stands."""
