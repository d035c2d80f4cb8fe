"""How the page looks: a theme of system fonts, and a style sheet for light and dark. Nothing here names another host.

Contrast is at least 4.5 to 1 for text; sizes are in `rem`, so that the page grows with the browser's font; columns fall
below each other where there is no room.
"""

import gradio as gr

_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
_MONO_FONTS = ("ui-monospace", "Menlo", "Consolas", "monospace")

CSS = """
.vg-head h1 { font-size: 1.6rem; margin: 0 }
.vg-head p { margin: .25rem 0 0; max-width: 60rem }
.vg-head { display: flex; flex-wrap: wrap; gap: .5rem 2rem; align-items: flex-end; justify-content: space-between }
.vg-dim { color: var(--body-text-color-subdued); font-size: .9rem }
.vg-note { border-left: .35rem solid var(--vg-info); background: var(--block-background-fill); padding: .75rem 1rem;
  border-radius: .35rem; margin: .5rem 0; overflow-wrap: anywhere }
.vg-error { border-color: #d55e00 } .vg-busy { border-color: #e69f00 }
.vg-tie { border-color: #009e73 } .vg-abstained { border-color: #6b6b6b }
.vg-headline { font-size: 1.25rem; margin: .25rem 0 .5rem; overflow-wrap: anywhere }
.vg-badge { display: inline-block; min-width: 1.6em; text-align: center; border-radius: .35rem; color: #fff;
  padding: 0 .3em }
.vg-badge.vg-A, .vg-bar .vg-A { background: #0072b2 } .vg-badge.vg-B, .vg-bar .vg-B { background: #a54a00 }
.vg-bar { position: relative; display: flex; height: 1.6rem; border-radius: .35rem; overflow: hidden;
  border: 1px solid var(--border-color-primary) }
.vg-bar .vg-A { border-right: 2px solid var(--body-background-fill) }
.vg-middle { position: absolute; left: 50%; top: 0; bottom: 0; border-left: 2px dashed #fff;
  mix-blend-mode: difference }
.vg-ends { display: flex; justify-content: space-between; font-weight: 600; margin: .15rem 0 .5rem }
.vg-readings, .vg-sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(16rem, 100%), 1fr));
  gap: 1rem }
.vg-reading, .vg-side { min-width: 0 }
.vg-reading h4, .vg-side h4, .vg-evidence h3 { margin: .75rem 0 .25rem }
.vg-critique, .vg-side blockquote { overflow-wrap: anywhere; white-space: pre-wrap; margin: 0; padding: .5rem .75rem;
  background: var(--block-background-fill); border-radius: .35rem; border: 1px solid var(--border-color-primary) }
.vg-side blockquote { margin: 0 !important } .vg-verdict > .vg-dim:last-child, .vg-legend { margin-top: .75rem }
.vg-picture figcaption { margin: .35rem 0 .75rem }
.vg-cursor { display: inline-block; width: .5em; height: 1em; background: currentcolor; vertical-align: text-bottom;
  animation: vg-blink 1s steps(2) infinite }
@keyframes vg-blink { 50% { opacity: 0 } }
@media (prefers-reduced-motion: reduce) { .vg-cursor { animation: none } }
.vg-good, .vg-bad { font-weight: 700 }
.vg-table, .vg-matrix { border-collapse: collapse; margin: .5rem 0; min-width: 0 }
.vg-table th, .vg-table td, .vg-matrix th, .vg-matrix td { border: 1px solid var(--border-color-primary);
  padding: .3rem .6rem; text-align: left; overflow-wrap: break-word; vertical-align: top }
.vg-matrix td { text-align: center; min-width: 3.2rem } .vg-matrix th { font-weight: 600 }
.vg-scroll { overflow-x: auto; max-width: 100% }
.vg-picture { margin: 0; max-width: 26rem } .vg-picture svg { width: 100%; height: auto; display: block;
  border-radius: .35rem; background: #fff; image-rendering: auto }
.vg-box rect { fill: none; stroke: var(--vg-box) } .vg-box .vg-tag { fill: var(--vg-box); stroke: none }
.vg-box text { fill: #fff; font-family: system-ui, sans-serif; font-weight: 600 }
.vg-box.vg-supported { --vg-box: #0072b2 } .vg-box.vg-unsupported { --vg-box: #7a5300 }
.vg-box.vg-contradicted { --vg-box: #b34700 } .vg-box.vg-unchecked { --vg-box: #595959 }
.vg-box.vg-mixed { --vg-box: #222 }
.vg-claims { list-style: none; padding: 0; margin: .5rem 0 }
.vg-claim { display: flex; gap: .6rem; padding: .3rem .6rem; margin: .25rem 0; border-left: .35rem solid;
  background: var(--block-background-fill); border-radius: .25rem; overflow-wrap: anywhere }
.vg-claim .vg-sign { font-weight: 700; width: 1em; text-align: center }
.vg-claim.vg-supported { border-color: #0072b2 } .vg-claim.vg-unsupported { border-color: #e69f00 }
.vg-claim.vg-contradicted { border-color: #d55e00 } .vg-claim.vg-unchecked { border-color: #6b6b6b;
  border-style: dashed; border-width: 0 0 0 .35rem }
.vg-meter { display: inline-block; width: 6rem; height: .7rem; border: 1px solid var(--border-color-primary);
  border-radius: .35rem; overflow: hidden; vertical-align: middle } .vg-meter span { display: block; height: 100%;
  background: #0072b2 } .vg-wide { width: 100%; height: 1.2rem }
.vg-problems { border-left: .35rem solid #d55e00; padding-left: .75rem; overflow-wrap: anywhere }
.vg-plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(17rem, 100%), 1fr)); gap: 1rem }
.vg-plot { width: 100%; height: auto; background: #fff; border-radius: .35rem }
.vg-code textarea { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .85rem; white-space: pre;
  overflow-x: auto }
@media (max-width: 30rem) { .tab-container button { padding: 0 .5rem } }
:root { --vg-info: #0072b2 } .dark { --vg-info: #56b4e9 }
.dark .vg-meter span { background: #56b4e9 }
:focus-visible { outline: 3px solid var(--vg-info) !important; outline-offset: 2px }
"""


def build_theme() -> gr.themes.Base:
    """The theme: system fonts, blue as the one accent."""
    return gr.themes.Default(
        primary_hue=gr.themes.colors.blue, secondary_hue=gr.themes.colors.blue, font=_FONTS, font_mono=_MONO_FONTS
    ).set(
        button_primary_background_fill="#005f96",
        button_primary_background_fill_hover="#004a75",
        button_primary_background_fill_dark="#005f96",
        button_primary_background_fill_hover_dark="#0072b2",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
        body_text_color_subdued="#50525a",
        body_text_color_subdued_dark="#b8bac2",
        block_label_text_color="#3f4149",
        block_label_text_color_dark="#d0d2da",
        block_info_text_color="#50525a",
    )
