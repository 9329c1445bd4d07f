"""Tell the app: deliver notices to its endpoints."""
