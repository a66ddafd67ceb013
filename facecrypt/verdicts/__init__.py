"""What is said of a saved face: what others will make of it, in classes and in words."""
