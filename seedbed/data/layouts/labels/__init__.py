"""Image-level labels in the forms people have: tables, JSON, and a folder for each class."""
