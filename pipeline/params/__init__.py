"""The knobs: what they mean, where they are read from, and their listing."""
