"""Log lines for people or for collectors, from everything that logs through the standard library.

Lines go to standard error. `plain` has colours on a terminal; `json` is one object a line. The web server's own access
log is off: `service.request_log` writes the one line per request.
"""

import logging
import sys

import structlog

from service.settings import Settings

_OWN = ("service", "genrm", "experts")


def configure_logs(settings: Settings) -> None:
    """Send every log record of the process through one formatter. Libraries' messages below warning are dropped."""
    steps: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.log_format == "json":
        steps.append(structlog.processors.format_exc_info)
        renderer: structlog.typing.Processor = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
        )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=steps,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name in _OWN:
        logging.getLogger(name).setLevel(settings.log_level.upper())
