"""An audit as a document: `pages` says what it holds, `html` and `pdf` only draw that."""
