"""Those who identify, and what they do about protection; see `base` for what one is, `entries` for their names."""
