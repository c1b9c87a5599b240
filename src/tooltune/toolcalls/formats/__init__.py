"""The call syntaxes of the model families, one file each."""
