"""The page at `/playground`, on Gradio: a person sees the judge think. Everything it does goes through the HTTP API."""
