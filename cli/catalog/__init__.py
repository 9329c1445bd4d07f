"""`seatsync catalog`: check a catalogue, and show what a changed one would do."""
