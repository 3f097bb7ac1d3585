"""Who may join: the consortium's certificate authority, invitations, and the kits that hospitals get."""
