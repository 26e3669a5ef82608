"""Files in and out, ours and others'; nothing here knows a data set or a network."""
