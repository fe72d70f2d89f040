"""This folder holds networks and cases that the tests below it share: pytest puts it on the path."""
