"""What this project needs, and how to get what is not there."""
