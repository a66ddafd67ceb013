"""Where pictures come from and go, besides folders: archives, frames of a video, standard streams."""
