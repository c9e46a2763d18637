"""What each command does, from a request to a result; nothing here prints or parses options."""
