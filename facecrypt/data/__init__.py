"""The built-in virtual targets, the sample photo and the template of the report."""
