"""What a result depends on beside its inputs: the code, and fingerprints of it all."""
