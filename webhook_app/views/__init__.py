"""Views: one file per group of API calls. They read the request, call a service, and show its answer."""
