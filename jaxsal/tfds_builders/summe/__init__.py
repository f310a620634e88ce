"""SumMe: 25 videos of amateurs."""
