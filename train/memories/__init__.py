"""What is remembered of the people trained on, to compare clips with."""
