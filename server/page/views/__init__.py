"""What each page shows, as frozen values made of the store's rows: no query, no markup."""
