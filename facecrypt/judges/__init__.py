"""Those who judge saved faces: the same person or not, or who of the enrolled; on this machine or over HTTP."""
