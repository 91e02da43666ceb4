"""What `check` and `doctor` find out."""
