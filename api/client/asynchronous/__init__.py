"""The client for asyncio. `api.client.synchronous` is generated from this folder, by
`python -m scripts.synchronous_client`."""
