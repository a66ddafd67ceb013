"""TIP-IM and its relatives: a loop that follows gradients through surrogates."""
