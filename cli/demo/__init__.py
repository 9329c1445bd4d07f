"""`seatsync demo`: runs the whole service with a simulated business and app, and shows what happens."""
