"""How the page of a night looks: on screens light and dark, and on paper."""

STYLE = """
:root { --ink: #26262e; --faint: #6a6a76; --line: #d9d9e0; --paper: #fff; --bar: #7a3b8f;
  --good: #00705d; --open: #8a5a00; --bad: #b01f4a }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #ececf1; --faint: #a0a0ae;
  --line: #3a3a46; --paper: #16161b; --bar: #c48ad8; --good: #4fd1b5; --open: #f0b44c;
  --bad: #ff7a9c } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 70rem; margin: 2rem auto; padding: 0 1.25rem }
h1 { font-size: 1.7rem; margin: 0 } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem }
small, footer, figcaption { color: var(--faint); font-weight: normal }
p { margin: .3rem 0 } code { font-size: .88em; overflow-wrap: anywhere }
.good { color: var(--good) } .open { color: var(--open) } .bad { color: var(--bad) }
.counts { display: flex; flex-wrap: wrap; gap: .75rem; list-style: none; padding: 0 }
.counts li { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem 1rem;
  min-width: 7rem } .counts b { display: block; font-size: 1.8rem; line-height: 1.2 }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .3rem .7rem .3rem 0;
  border-bottom: 1px solid var(--line) }
th { font-weight: 600; color: var(--faint) }
.n { text-align: right; font-variant-numeric: tabular-nums }
td:first-child { white-space: nowrap }
.charts, .pictures { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem }
.charts svg { width: 32rem; max-width: 100%; height: auto } svg text { fill: var(--faint);
  font: 11px system-ui, sans-serif } svg .title { fill: var(--ink); font-size: 13px }
svg rect { fill: var(--bar) } svg line { stroke: var(--line) }
figure { margin: 0 } figure img { display: block; border: 1px solid var(--line);
  border-radius: .25rem; background: #fff } figcaption { font-size: .85rem; max-width: 20rem }
footer { margin-top: 2.5rem; border-top: 1px solid var(--line); font-size: .85rem }
@media print { body { margin: 0; max-width: none; font-size: 10pt }
  tr, figure, svg, .counts { break-inside: avoid } thead { display: table-header-group } }
"""
