"""What an installation must show of itself before it touches a patient: pure checks, driven by `client.selftest`."""
