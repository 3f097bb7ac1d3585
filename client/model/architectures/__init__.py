"""What differs between families of base models, a file a family; `registry` knows them by their configuration."""
