"""What all services share: values to and from messages, validation, pages, and errors as statuses."""
