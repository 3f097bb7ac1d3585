"""`fedpath-audit`: the command that puts together what an auditor does with the other packages."""
