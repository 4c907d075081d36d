"""Builds plugin files: a prebuilt stub and a payload become one shared object, in pure Python."""
