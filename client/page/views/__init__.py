"""What each page shows, as frozen values: no query, no file, no markup but charts."""
