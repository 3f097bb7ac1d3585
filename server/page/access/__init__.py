"""Who may see and do what on the coordinator's page."""
