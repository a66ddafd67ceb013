"""Faces in a photo: geometry and patches."""
