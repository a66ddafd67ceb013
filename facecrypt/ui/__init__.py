"""A local web page to protect a photo: `facecrypt ui`. Needs the extra ``ui``. See docs/ui.md."""
