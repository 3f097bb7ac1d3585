"""How a consortium's store comes from one form to the next (`server.migrate`)."""
