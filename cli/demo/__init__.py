"""`seatsync demo`: the whole service with a simulated business and a small app, to be watched."""
