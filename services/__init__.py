"""What the product does: one folder per capability, for the API, the workers and the commands alike."""
