"""What the forms for new tasks say, one at a time or many in a sheet. Layer: between pages and the client."""
