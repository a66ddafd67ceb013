"""Methods compared by open-set identification: `facecrypt evaluate`."""
