"""Who may join: the consortium's certificate authority, and the kit that a hospital gets."""
