"""A saved model behind HTTP.

`limits` are the settings of a server. `requests` reads what a client has sent, or refuses it. `batching` answers the
texts of concurrent requests together, in one thread. `app` is the ASGI application, and `metrics` what it counts.
`server` loads the model, listens on the socket of `address`, and answers what it has accepted before it stops.
"""
