"""What decides what may leave a hospital: clipping, noise, accounting, ledger, sealed releases, egress."""
