"""What happens to a file after it was published: protocol, recipe entries, and the built-in transforms."""
