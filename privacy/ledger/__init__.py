"""The ledger: what was reserved, spent, voided, refused and acknowledged; hash-chained, signed, durable."""
