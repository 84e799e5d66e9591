"""Articles, which are hostile: nothing here trusts a title, a text, HTML or an address."""
