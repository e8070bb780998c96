"""CSIP-ReID: encoders, prototype fusion, skeleton-guided temporal modelling, two-stage training."""
