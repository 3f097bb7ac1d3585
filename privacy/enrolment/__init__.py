"""How a hospital joins a consortium: an invitation goes out, a request comes back, a signed kit answers it.

All three are files of canonical JSON that people hand over, so each is hostile bytes to whoever takes it in: bounded,
with a closed set of fields, each of its form (`privacy.enrolment.fields`). A private key is in none of them.
"""
