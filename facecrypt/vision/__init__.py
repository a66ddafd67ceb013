"""What eyes see of a change: models of vision, in torch."""
