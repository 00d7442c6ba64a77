"""The command line: what the console command `behemoth` and the files in scripts/ run. Nobody imports it."""
