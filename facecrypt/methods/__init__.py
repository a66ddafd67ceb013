"""How faces become protected faces: one file or folder for each method."""
