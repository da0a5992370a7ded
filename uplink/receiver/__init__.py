"""The platform's end of the contract: ingest over HTTP, durable before it is acknowledged.

`app.make_app` is the aiohttp application, `serve.serve` runs it, `storage` keeps the events.
"""
