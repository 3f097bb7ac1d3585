"""The auditor's reading of both sides' books: offline, from their exports, with public keys alone.

`sources` reads files; `chain`, `copies`, `hospital`, `journal`, `rules`, `accounting` and `cross` are pure and return
findings instead of raising, so that everything that is wrong is told at once; `verify` puts them together, and catches
what nobody foresaw; `report` shows the result.
"""
