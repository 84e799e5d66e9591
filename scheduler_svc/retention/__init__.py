"""What is deleted for its age."""
