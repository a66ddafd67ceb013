"""The command ``facecrypt``: one file for each command that is more than a few lines."""
