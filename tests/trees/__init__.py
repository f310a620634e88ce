"""Small folders in the layouts of the data sets' authors, with invented content."""
