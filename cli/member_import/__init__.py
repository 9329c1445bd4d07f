"""`seatsync import members`: reads and checks the whole file, sorts it by account, imports it in batches."""
