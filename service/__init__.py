"""The HTTP face of the judge: routes, media intake, metrics, settings and commands. Thin; what a judgement is stands
in `genrm`.
"""
