"""Topic data of the built-in model."""
