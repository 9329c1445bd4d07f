"""`seatsync backfill`: bring in a business that is there already, or show what that would do."""
