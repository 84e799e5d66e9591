"""The operator's commands: backups, migrations, tokens, checks of settings and health."""
