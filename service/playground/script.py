"""What the page does in the browser beside Gradio: it tells a visitor when the service is gone, gives sample buttons
their words, and shows a sign in place of a file that is no picture.

A page that is left alone asks for its service every twenty seconds, one that nobody sees does not ask at all, and
neither keeps a connection. And it stops what Gradio leaves running.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEAD_TAG = b"<head>"
"""Behind which `put_first` puts a text."""

FIRST = """<script>
// The clock of Gradio's loading sign is never stopped (6.31: its StatusTracker is unmounted while it counts) and
// has every idle page computed sixty times a second. So what has asked for frame after frame since before the page was
// there gets no more of them a little after.
(() => {
  const request = window.requestAnimationFrame.bind(window), graceMs = 3000;
  let thereSince = Infinity, askedSince = null;
  window.requestAnimationFrame = (callback) => {
    const since = askedSince ?? performance.now();
    if (since < thereSince && performance.now() > thereSince + graceMs) return 0;
    return request((now) => {
      askedSince = since;
      try { callback(now); } finally { askedSince = null; }
    });
  };
  const observer = new MutationObserver(() => {
    if (!document.getElementById("judge-run")) return;
    thereSince = performance.now();
    observer.disconnect();
  });
  observer.observe(document, { childList: true, subtree: true });
})();
</script>
"""
"""Goes before Gradio's own scripts, which keep the functions of the browser that they find."""

HEAD = """
<style>
/* Outside Gradio's own element, where its style sheets do not reach. The banner takes room of its own above the page,
   and stays in sight; what gets the focus is scrolled out from under it. */
#vg-gone { position: sticky; top: 0; z-index: 1000; flex: none; background: #5c2b00; color: #fff;
  padding: .6rem 1rem; font: 600 1rem/1.4 system-ui, sans-serif; text-align: center }
#vg-gone button { color: #fff; text-decoration: underline; background: none; border: 0; font: inherit; cursor: pointer }
</style>
<script>
(() => {
  // Gradio's sample buttons hold a picture and no words; people who do not see it need some.
  new MutationObserver(() => {
    for (const gallery of document.querySelectorAll("[id$=-samples] .gallery")) {
      gallery.querySelectorAll(".gallery-item:not([aria-label])").forEach((item) => {
        item.setAttribute("aria-label", `Sample ${[...gallery.children].indexOf(item) + 1}`);
      });
    }
  }).observe(document, { childList: true, subtree: true });
  // A file that the browser cannot show gets a sign of ours: the browser's own looks like a fault of the page.
  const sign = "data:image/svg+xml," + encodeURIComponent(
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 160 120" fill="none" stroke="#767676" stroke-width="4">
    <rect x="40" y="25" width="80" height="60" rx="6"/><path d="M48 77l22-24 14 14 12-10 16 20"/>
    <circle cx="100" cy="42" r="6"/><path d="M34 99L126 13"/></svg>`);
  const isPicture = (element) => element instanceof HTMLImageElement && element.closest("[id$=-image]");
  document.addEventListener("error", (event) => {
    const image = event.target;
    if (!isPicture(image) || image.src === sign) return;
    image.dataset.alt ??= image.alt;
    image.alt = "A file that this browser cannot show as a picture";
    image.src = sign;
  }, true);
  document.addEventListener("load", (event) => {
    const image = event.target;
    if (isPicture(image) && image.src !== sign && "alt" in image.dataset) {
      image.alt = image.dataset.alt;
      delete image.dataset.alt;
    }
  }, true);
  // Asks whether the service is there, and whether it is the one that this page came from.
  const quickMs = 4000, slowMs = 20000, leftAfterMs = 60000;
  const base = new URL(".", window.location.href);
  let born = null, isGone = false, isLooking = false, timer = 0, looked = 0, acted = performance.now();
  const show = (text, canReload) => {
    let banner = document.getElementById("vg-gone");
    if (!banner) {
      banner = document.createElement("div");
      banner.id = "vg-gone";
      banner.setAttribute("role", "alert");
      document.body.prepend(banner);
    }
    banner.textContent = text;
    if (canReload) {
      const button = document.createElement("button");
      button.textContent = "Load the page again";
      button.onclick = () => window.location.reload();
      banner.append(" ", button);
    }
    document.documentElement.style.scrollPaddingTop = `${banner.offsetHeight}px`;
  };
  const hide = () => {
    document.getElementById("vg-gone")?.remove();
    document.documentElement.style.scrollPaddingTop = "";
  };
  const look = async () => {
    if (isLooking) return;
    isLooking = true;
    clearTimeout(timer);
    looked = performance.now();
    try {
      const answer = await fetch(new URL("alive", base), { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const id = (await answer.json()).id;
      if (born === null) born = id;
      if (id !== born) {
        show("The service was restarted. What you entered is still here; load the page again to go on.", true);
      } else if (isGone) {
        hide();
      }
      isGone = false;
    } catch {
      isGone = true;
      show("The service does not answer. It may be restarting; this page looks for it every few seconds. What you " +
        "entered is still here.", false);
    }
    isLooking = false;
    if (document.hidden) return;
    const isLeft = performance.now() - acted > leftAfterMs;
    timer = setTimeout(look, isLeft && !isGone ? slowMs : quickMs);
  };
  const lookSoon = () => { if (!document.hidden && performance.now() - looked > quickMs) look(); };
  for (const kind of ["pointerdown", "keydown", "focus"]) {
    window.addEventListener(kind, () => { acted = performance.now(); lookSoon(); }, { capture: true, passive: true });
  }
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(look, Math.max(0, quickMs - (performance.now() - looked)));
  });
  look();
  document.documentElement.lang = "en";
})();
</script>
"""


def put_first(app: ASGIApp, first: str) -> ASGIApp:
    """The application with a text put at the beginning of the head of its HTML answers, which are sent in one piece.

    Gradio's own `head` comes too late for scripts: its page inserts it when its scripts are already running.
    """

    async def insert(scope: Scope, receive: Receive, send: Send) -> None:
        held: list[Message] = []

        async def send_inserted(message: Message) -> None:
            held.append(message)
            if message["type"] != "http.response.body" or message.get("more_body", False):
                return
            body = b"".join(each.get("body", b"") for each in held)
            body = body.replace(HEAD_TAG, HEAD_TAG + first.encode(), 1)
            start = held[0]
            headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
            await send({**start, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
            await send({"type": "http.response.body", "body": body})

        await app(scope, receive, send_inserted)

    return insert
