"""Everything that changes an account's seats, under the account's lock."""
