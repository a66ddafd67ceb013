"""What adversaries learn from pairs of protected and clean photos of other people: pure pieces, tensors in and out."""
