"""`seatsync import members`: a file is read and checked whole, sorted by account, then seated in batches."""
