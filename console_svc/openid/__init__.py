"""Sign-in: by a token, or through the OpenID Connect provider of your organization."""
