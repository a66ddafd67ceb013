"""Where a mask may be strong."""
