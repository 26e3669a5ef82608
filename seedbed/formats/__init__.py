"""File formats, our own and published ones; nothing here knows a data set or a network."""
