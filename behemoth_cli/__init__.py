"""The command line: what the console command `behemoth` and the files in scripts/ run. No other package imports it."""
