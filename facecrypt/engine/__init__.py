"""A run under Lightning: photos, batches, the trainer, and the records of what was written."""
