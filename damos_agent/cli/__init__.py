"""damosctl, the command line tool."""
