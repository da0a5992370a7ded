"""The status page: pages, charts and metrics are pure; the server is thin, and guarded."""
