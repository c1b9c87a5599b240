"""What several formats read alike: turns, tools, calls, parts, schemas, and pairing."""
