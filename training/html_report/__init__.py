"""The page that a finished run leaves for people: figures, plots and examples in one file of HTML."""
