"""Checks of a finished run: is it calibrated, exact, robust, and are its label sets as large as promised."""
