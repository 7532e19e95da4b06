"""The command line: parse, resolve, call one library function, print."""
