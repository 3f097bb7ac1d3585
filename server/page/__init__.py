"""The coordinator's page: campaigns, hospitals, experts and what privacy was spent, as the store tells of them."""
