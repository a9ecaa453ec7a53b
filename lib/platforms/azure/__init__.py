"""What the Azure platforms share. Only they import it."""
