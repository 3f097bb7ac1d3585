"""What has left a campaign's hospitals, for experiment trackers."""
