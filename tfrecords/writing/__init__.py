"""How records get to disk: whole, sharded, described, by one runner or another."""
