"""Reading a finished run: pictures, plots, search, predictions, exports, comparisons."""
