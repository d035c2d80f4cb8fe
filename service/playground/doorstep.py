"""The two plain pages before the playground: it is not loaded yet, and it wants a key. No scripts, nothing to load."""

from html import escape

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{head}<title>VL-GenRM playground</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 10vh auto; max-width: 30rem; padding: 0 1rem }}
h1 {{ font-size: 1.4rem }}
input, button {{ font: inherit; padding: .5rem .75rem; width: 100%; box-sizing: border-box; margin-top: .5rem }}
.problem {{ border-left: .3rem solid #d55e00; padding-left: .75rem }}
</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def render_loading(why: str) -> str:
    """The page shown until the playground is there; it asks again by itself. why: what is missing, in words."""
    body = (
        f'<h1>The playground is loading</h1><p role="status">{escape(why)} This page tries again every two seconds.</p>'
    )
    return _PAGE.format(head='<meta http-equiv="refresh" content="2">\n', body=body)


def render_sign_in(problem: str | None = None) -> str:
    """The page that asks for an API key. problem: what was wrong with the last one."""
    said = f'<p class="problem" role="alert" id="problem">{escape(problem)}</p>' if problem else ""
    body = (
        "<h1>VL-GenRM playground</h1>"
        "<p>This service wants an API key. What you do in the playground counts as requests of that key. The operator "
        "gives out keys.</p>"
        f"{said}"
        '<form method="post" action="sign-in"><label for="key">API key</label>'
        '<input id="key" name="key" type="password" autocomplete="off" required autofocus>'
        '<button type="submit">Open the playground</button></form>'
    )
    return _PAGE.format(head="", body=body)
