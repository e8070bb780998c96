"""Whatever is on the disk: a reader for each kind of file, and one line for what is wrong in it."""
