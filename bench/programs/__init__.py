"""The programs that are measured, each in a process of its own: the app's parts, and what a user would pick instead."""
