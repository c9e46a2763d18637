"""Run each command's job, from a request to a result, without printing or parsing options."""
