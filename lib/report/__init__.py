"""What people see of a release."""
