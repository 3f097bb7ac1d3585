"""The self-test: the release path, driven with made-up patients and judged by `privacy.selftest`."""
