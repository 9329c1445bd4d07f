"""The catalogue: what the merchant sells and for how many seats, as read from its TOML file."""
