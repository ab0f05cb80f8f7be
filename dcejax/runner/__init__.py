"""Cases in, files out: shards, resume, overlap, records and exit codes, and what each command does with a case."""
