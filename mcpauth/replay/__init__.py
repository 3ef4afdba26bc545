"""Plays what a real client sends, and says what that client would have said."""
