"""UCF-Sports: 150 videos of sports."""
