"""One query against a gallery."""
