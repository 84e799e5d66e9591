"""What an account has, in every table: to count, erase and move it."""
