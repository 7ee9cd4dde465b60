"""The control plane: turns each ``DiscordGateway`` into generations of shards and moves traffic between them."""
