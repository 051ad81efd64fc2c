"""How the pages look: two colour schemes, and one style sheet scoped under the class `deeprec`.

No rule reaches outside `.deeprec`, nothing is fetched, and widths follow the container, so that the same sheet serves a
page of its own and the output of a notebook's cell.
"""

from __future__ import annotations

import base64
import hashlib

LIGHT = {
    "bg": "#f4f6f8",
    "card": "#ffffff",
    "ink": "#18212b",
    "muted": "#4d5866",
    "line": "#d5dbe2",
    "accent": "#0a615d",
    "accent-soft": "#e3f1ef",
    "target": "#83156f",
    "target-soft": "#f9e8f5",
    "good": "#14602f",
    "good-soft": "#e2f3e7",
    "warn": "#7a4300",
    "warn-soft": "#fdf0d8",
    "bad": "#98201a",
    "bad-soft": "#fbe6e4",
    "k1": "#fdecd2",
    "k2": "#f8cd92",
    "k3": "#f0a457",
    "k4": "#e0782c",
    "u2": "#c3e0f8",
    "u3": "#84bdee",
    "u4": "#4795da",
    "k-ink": "#18120a",
}
DARK = {
    "bg": "#0f1318",
    "card": "#181e26",
    "ink": "#e4e9ef",
    "muted": "#a5b0bd",
    "line": "#2f3945",
    "accent": "#63d1c6",
    "accent-soft": "#12312f",
    "target": "#f2a0e6",
    "target-soft": "#3a1b36",
    "good": "#7fd99a",
    "good-soft": "#14301d",
    "warn": "#f0c36d",
    "warn-soft": "#35280f",
    "bad": "#ffa198",
    "bad-soft": "#3d1b19",
    "k1": "#3a2c17",
    "k2": "#593f16",
    "k3": "#7a5416",
    "k4": "#9c4f10",
    "u2": "#143451",
    "u3": "#174c7c",
    "u4": "#1a65ab",
    "k-ink": "#fff4e4",
}


def _scheme(name: str, colours: dict[str, str]) -> str:
    return f"color-scheme:{name};" + "".join(f"--{key}:{value};" for key, value in colours.items())


# A notebook says by itself whether it is light or dark; a page follows the system.
_SCHEMES = f"""
.deeprec{{{_scheme("light", LIGHT)}}}
@media (prefers-color-scheme:dark){{.deeprec{{{_scheme("dark", DARK)}}}}}
:is([data-jp-theme-light="true"],.vscode-light) .deeprec{{{_scheme("light", LIGHT)}}}
:is([data-jp-theme-light="false"],.vscode-dark,html[theme="dark"]) .deeprec{{{_scheme("dark", DARK)}}}
@media print{{.deeprec.deeprec{{{_scheme("light", LIGHT | {"bg": "#ffffff"})}}}}}
"""

_RULES = """
.deeprec,.deeprec *{box-sizing:border-box}
.deeprec{container-type:inline-size;width:100%;background:var(--bg);color:var(--ink);text-align:left;direction:ltr;
 font:16px/1.55 system-ui,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;overflow-wrap:anywhere;
 -webkit-text-size-adjust:100%;text-size-adjust:100%}
.deeprec .run{max-width:76rem;margin:0 auto;padding:1rem}
.deeprec.part .run{padding:.75rem}
.deeprec.part{border:1px solid var(--line);border-radius:8px;font-size:14px}
.deeprec :is(h1,h2,h3,h4,h5,h6){color:var(--ink);line-height:1.25;font-weight:650;margin:0 0 .6rem;padding:0;
 letter-spacing:-.01em}
.deeprec .title{font-size:1.6rem;display:flex;flex-wrap:wrap;gap:.4rem .8rem;align-items:center;margin:.2rem 0 .6rem}
.deeprec .head{font-size:1.15rem;display:flex;flex-wrap:wrap;gap:.2rem .7rem;align-items:baseline}
.deeprec .head small{font-size:.85rem;font-weight:400;color:var(--muted)}
.deeprec .sub{font-size:.95rem;margin:0 0 .35rem}
.deeprec p{margin:0 0 .6rem;color:inherit;max-width:72ch}
.deeprec :is(p,dd,pre,ul,ol,dl,table):last-child{margin-bottom:0}
.deeprec code,.deeprec pre{font:.86em/1.5 ui-monospace,"SF Mono",Menlo,Consolas,"Liberation Mono",monospace;
 background:none;color:inherit;padding:0;border:0}
.deeprec pre{white-space:pre-wrap;margin:.3rem 0 .6rem;padding:.6rem .75rem;background:var(--bg);color:var(--ink);
 border:1px solid var(--line);border-radius:6px;overflow:clip}
.deeprec a{color:var(--accent);text-underline-offset:.15em}
.deeprec :is(a,summary,[tabindex]):focus-visible{outline:3px solid var(--accent);outline-offset:2px;border-radius:3px}
.deeprec .skip{position:absolute;left:1rem;top:-4rem;background:var(--card);padding:.5rem 1rem;z-index:2}
.deeprec .skip:focus{top:.5rem}
.deeprec .hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.deeprec .card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1rem 1.1rem;
 margin:0 0 1rem;overflow:clip}
.deeprec .card:target{border-color:var(--accent);box-shadow:0 0 0 2px var(--accent)}
.deeprec .muted,.deeprec .note{color:var(--muted)}
.deeprec .note{font-size:.9em}
.deeprec .jump{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.92rem;margin:0;padding:0;list-style:none}
.deeprec .facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(9.5rem,100%),1fr));gap:.6rem 1.2rem;
 margin:0 0 .8rem}
.deeprec .facts div{min-width:0}
.deeprec dt{font-size:.8rem;font-weight:400;color:var(--muted);margin:0}
.deeprec dd{margin:0;font-variant-numeric:tabular-nums}
.deeprec .lineage dl{display:grid;grid-template-columns:minmax(6rem,12rem) 1fr;gap:.3rem 1rem;margin:.7rem 0 0;
 font-size:.9rem}
.deeprec nav{margin:0 0 1rem}
.deeprec .wide{grid-column:span 2}
.deeprec .badge{display:inline-block;font-size:.8rem;line-height:1.35;font-weight:600;padding:.1rem .5rem;
 border-radius:.75rem;background:var(--bg);color:var(--muted);border:1px solid var(--line);letter-spacing:0}
.deeprec .good{background:var(--good-soft);color:var(--good);border-color:transparent}
.deeprec .warn{background:var(--warn-soft);color:var(--warn);border-color:transparent}
.deeprec .bad{background:var(--bad-soft);color:var(--bad);border-color:transparent}
.deeprec .aim{background:var(--target-soft);color:var(--target);border-color:transparent}
.deeprec .call{background:var(--accent-soft);color:var(--accent);border-color:transparent}
.deeprec :is(p.warn,p.bad,p.aim,p.call){padding:.5rem .75rem;border-radius:6px;max-width:none}
.deeprec .thought{margin:0 0 .8rem;font-size:1.06rem;line-height:1.6;max-width:62ch}
.deeprec .preference{margin:0 0 .8rem;padding:.55rem .75rem;border-left:4px solid var(--accent);
 background:var(--accent-soft);color:var(--ink);border-radius:0 6px 6px 0;font-size:1.04rem}
.deeprec .label{display:block;font-size:.8rem;font-weight:400;color:var(--muted)}
.deeprec .preference .label{color:var(--accent)}
.deeprec .two{display:grid;gap:1rem 2rem;grid-template-columns:minmax(0,1fr)}
.deeprec .two>*{min-width:0}
@container (min-width:56rem){.deeprec .two{grid-template-columns:minmax(0,5fr) minmax(0,6fr)}
 .deeprec .two.even{grid-template-columns:minmax(0,1fr) minmax(0,1fr)}}
.deeprec table{border-collapse:collapse;border-spacing:0;width:100%;margin:0 0 .8rem;font-size:.92rem;
 color:inherit;background:none;border:0;table-layout:auto}
.deeprec table.small{width:auto;min-width:min(22rem,100%);font-size:.86rem}
.deeprec caption{caption-side:top;text-align:left;font-size:.86rem;color:var(--muted);padding:0 0 .3rem}
.deeprec tr,.deeprec tbody tr:nth-child(odd),.deeprec tbody tr:hover{background:none}
.deeprec :is(th,td){padding:.3rem .5rem;text-align:left;vertical-align:top;border:0;border-top:1px solid var(--line);
 font-weight:400;max-width:none;white-space:normal;line-height:1.4;color:inherit;background:none}
.deeprec :is(th,td):first-child{padding-left:0}
.deeprec :is(th,td):last-child{padding-right:0}
.deeprec thead th{border-top:0;font-size:.8rem;color:var(--muted);padding-top:0;overflow-wrap:normal}
.deeprec :is(th,td).n{text-align:right;font-variant-numeric:tabular-nums;overflow-wrap:normal;width:1%;
 white-space:nowrap}
.deeprec tr.old>*{color:var(--muted)}
.deeprec tr.hit>*{background:var(--target-soft)}
.deeprec table.small :is(th,td).n{width:auto}
.deeprec td.marks{text-align:right;overflow-wrap:normal}
.deeprec .marks .badge{margin:0 0 .1rem .2rem}
@container (min-width:40rem){.deeprec .marks{width:1%}.deeprec .marks :is(span,.badge){white-space:nowrap}}
.deeprec .item code{color:var(--muted);margin-left:.45em;font-size:.8em}
.deeprec tr.hit code{color:var(--target)}
.deeprec ol.history{margin:0;padding:0 0 0 2.6em;font-size:.92rem}
.deeprec ol.history li{padding:.1rem 0}
@container (min-width:72rem){.deeprec ol.history.long{columns:2;column-gap:2rem}}
.deeprec details{margin:.8rem 0 0}
.deeprec summary{cursor:pointer;color:var(--accent);font-size:.92rem;padding:.15rem 0}
.deeprec details.lineage{margin:0}
.deeprec details[open]>summary{margin-bottom:.4rem}
.deeprec .chain{font:.84rem/1.75 ui-monospace,"SF Mono",Menlo,Consolas,"Liberation Mono",monospace;max-width:none;
 white-space:pre-wrap;padding:.6rem .75rem;background:var(--bg);border:1px solid var(--line);border-radius:6px;
 margin:.4rem 0 .8rem;overflow:clip}
.deeprec .given{color:var(--muted);font-style:italic}
.deeprec .t{unicode-bidi:isolate;border-radius:2px}
.deeprec .k1{background:var(--k1);color:var(--k-ink);box-shadow:inset 0 -1px var(--k-ink)}
.deeprec .k2{background:var(--k2);color:var(--k-ink);box-shadow:inset 0 -2px var(--k-ink)}
.deeprec .k3{background:var(--k3);color:var(--k-ink);box-shadow:inset 0 -3px var(--k-ink)}
.deeprec .k4{background:var(--k4);color:var(--k-ink);box-shadow:inset 0 -4px var(--k-ink);font-weight:700}
.deeprec .u2{background:var(--u2);color:var(--k-ink);box-shadow:inset 0 2px var(--k-ink)}
.deeprec .u3{background:var(--u3);color:var(--k-ink);box-shadow:inset 0 3px var(--k-ink)}
.deeprec .u4{background:var(--u4);color:var(--k-ink);box-shadow:inset 0 4px var(--k-ink);font-weight:700}
.deeprec .legend{list-style:none;display:flex;flex-wrap:wrap;gap:.3rem .9rem;margin:0 0 .4rem;padding:0;
 font-size:.84rem}
.deeprec .legend .t{padding:.2rem .4rem}
.deeprec .side{border-top:3px solid var(--line);padding-top:.5rem}
.deeprec .two>.side+.side{border-top-color:var(--accent)}
@container (max-width:30rem){.deeprec .run{padding:.6rem}.deeprec .card{padding:.75rem .75rem}
 .deeprec .title{font-size:1.35rem}.deeprec .lineage dl{grid-template-columns:minmax(0,1fr);gap:0}
 .deeprec .lineage dd{margin-bottom:.5rem}.deeprec td.marks{max-width:6.2rem}
 .deeprec table.small .n{white-space:normal}}
@media print{.deeprec .card{border:0;border-top:1px solid var(--line);border-radius:0;padding:.6rem 0}
 .deeprec .skip,.deeprec .jump{display:none}.deeprec tr,.deeprec .preference{break-inside:avoid}
 .deeprec :is(h1,h2,h3,h4){break-after:avoid}
 .deeprec details.lineage::details-content{content-visibility:visible;block-size:auto}}
"""

STYLE = _SCHEMES + _RULES
"""The style sheet. A constant without `<`, so that nothing in it ends the element that holds it."""

PAGE_STYLE = "html,body{margin:0;padding:0}body.deeprec{min-height:100vh}" + STYLE
"""The style sheet of a page of its own."""


def style_source(style: str) -> str:
    """The hash by which a Content-Security-Policy lets one inline style sheet in, and no other."""
    digest = hashlib.sha256(style.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
