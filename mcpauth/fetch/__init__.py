"""Fetching what strangers name: from public addresses only, little of it, and not for long. Knows no OAuth."""
