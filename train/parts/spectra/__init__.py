"""Parts for people who are seen by day in colour and by night in infrared light."""
