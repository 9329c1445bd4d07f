"""`seatsync catalog`: check a catalogue, and show what it would change."""
