"""The auditor's reading of both sides' books: offline, from their exports, with public keys alone.

`sources` reads files; `chain`, `hospital`, `journal`, `accounting` and `cross` are pure and return findings instead
of raising, so that everything that is wrong is told at once; `verify` puts them together; `report` shows the result.
"""
