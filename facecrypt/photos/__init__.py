"""Photo files: found, read within bounds, written whole, with their colours and metadata."""
