"""What the provider keeps and works out: subscriptions, prices, plan changes, payments."""
