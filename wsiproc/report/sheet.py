"""How a report looks, on a screen and on A4."""

from __future__ import annotations

STYLE = """
:root { --ink: #20202a; --soft: #5d5d6b; --line: #dedee6; --pale: #f6f5f8; --plum: #74246f;
  --good: #00705d; --fair: #8a5a00; --bad: #b01f4a }
* { box-sizing: border-box }
html { background: #ecebf0; print-color-adjust: exact; -webkit-print-color-adjust: exact }
body { margin: 0; color: var(--ink); font: 15px/1.5 "Inter", "Helvetica Neue", "Segoe UI", Roboto,
  "Noto Sans", "Liberation Sans", Arial, sans-serif }
main { max-width: 1020px; margin: 2rem auto; padding: 3rem 3.2rem 2.2rem; background: #fff;
  border-radius: 4px; box-shadow: 0 1px 3px #20202a22, 0 8px 30px #20202a12 }
h1 { font-size: 2rem; line-height: 1.2; margin: .1rem 0 .3rem; font-weight: 650;
  overflow-wrap: anywhere; letter-spacing: -.01em }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .5rem; padding-top: .9rem; font-weight: 650;
  border-top: 1px solid var(--line) }
h3 { font-size: .95rem; margin: 1.25rem 0 .35rem; font-weight: 600 }
small, .soft, figcaption, footer { color: var(--soft); font-weight: normal }
small { font-size: .85em } p { margin: .35rem 0; max-width: 46rem }
code { font: .84em/1.4 ui-monospace, "SF Mono", "DejaVu Sans Mono", monospace;
  overflow-wrap: anywhere }
b { font-weight: 600 } .good { color: var(--good) } .bad { color: var(--bad) }
.fair { color: var(--fair) }
header { display: flex; justify-content: space-between; gap: 2rem; align-items: flex-start }
.eyebrow { color: var(--plum); font-weight: 600; font-size: .8rem; letter-spacing: .09em;
  text-transform: uppercase; margin: 0 }
.use { border: 1px solid var(--line); border-radius: 3px; padding: .3rem .7rem; font-size: .8rem;
  color: var(--soft); flex: none; margin: .2rem 0 0 }
.figures { display: grid; grid-template-columns: repeat(4, 1fr); gap: 0; margin: 1.5rem 0 1.1rem;
  padding: 0; list-style: none; border: solid var(--line); border-width: 1px 0 }
.figures li { padding: .85rem 1.1rem .75rem; border-left: 1px solid var(--line) }
.figures li:first-child { border-left: 0; padding-left: 0 }
.figures b { display: block; font-size: 1.85rem; line-height: 1.2; font-weight: 600;
  letter-spacing: -.015em; font-variant-numeric: tabular-nums; white-space: nowrap }
.figures b small { font-size: .62em; color: inherit; font-weight: 500; letter-spacing: 0 }
.figures span { color: var(--soft); font-size: .86rem }
.lead { font-size: 1.06rem; max-width: 48rem }
.notice { border-left: 4px solid var(--fair); background: #fdf6e8; padding: .6rem 1rem;
  margin: 1rem 0; border-radius: 0 3px 3px 0 }
.notice h2 { border: 0; margin: 0 0 .2rem; padding: 0; font-size: 1rem; color: var(--fair) }
.notice ul { margin: 0; padding-left: 1.1rem } .notice li { margin: .15rem 0 }
.fine { color: var(--good); font-weight: 500 }
figure { margin: 0 }
.slide { display: grid; grid-template-columns: 1fr 1fr; gap: 1.4rem; align-items: start }
.slide.wide { grid-template-columns: 1fr }
.slide svg { display: block; width: 100%; max-height: 44rem }
.slide .edge { fill: none; stroke: var(--line); stroke-width: 1px }
.tissue { fill: none; stroke: #00846e; stroke-width: 1.2px }
.unread { fill: #b01f4a33; stroke: #b01f4a; stroke-width: 1.2px }
.slide path, .slide rect, .slide line { vector-effect: non-scaling-stroke }
figcaption { font-size: .86rem; margin-top: .45rem }
.under { display: flex; align-items: center; gap: .6rem; font-size: .82rem; color: var(--soft);
  margin-top: .45rem; font-variant-numeric: tabular-nums }
.bar { height: 5px; border: solid var(--ink); border-width: 0 1.5px; position: relative;
  flex: none } .bar::after { content: ""; position: absolute; inset: 1.75px 0;
  background: var(--ink) }
.ramp { width: 9rem; height: .7rem; border-radius: 2px; border: 1px solid var(--line); flex: none }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .36rem .8rem .36rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top }
th { font-weight: 500; color: var(--soft); font-size: .84rem; vertical-align: bottom }
tr.all td { border-bottom: 0; font-weight: 600 }
td:first-child { min-width: 6.5rem } td:last-child, th:last-child { padding-right: 0 }
.n { text-align: right; white-space: nowrap }
.name { white-space: nowrap }
.swatch { display: inline-block; width: .72rem; height: .72rem; border-radius: 2px;
  margin-right: .5rem; vertical-align: -.04rem }
.spark { display: block; width: 7rem; height: 1.4rem; margin-left: auto }
.charts { display: grid; grid-template-columns: repeat(3, 1fr); gap: 1.2rem 1.6rem;
  margin-top: .8rem }
.chart figcaption { margin: 0; line-height: 1.35 }
.chart figcaption > b { color: var(--ink); display: block; font-size: .95rem }
.chart svg { display: block; width: 100% }
.chart text { fill: var(--soft); font-size: 10.5px; font-variant-numeric: tabular-nums }
.chart line { stroke: #b9b9c4; stroke-width: 1 } .chart .median { stroke: var(--ink);
  stroke-width: 1.3 } .chart .half { fill: #efedf3 }
.row { display: grid; grid-template-columns: repeat(10, 1fr); gap: .45rem .4rem }
.crop svg { display: block; width: 100%; border-radius: 2px; background: var(--pale) }
.crop figcaption { text-align: center; font-size: .72rem; margin-top: .1rem; white-space: nowrap;
  font-variant-numeric: tabular-nums }
.crop path, .crop circle { fill: none; stroke-linejoin: round; vector-effect: non-scaling-stroke }
.crop .halo { stroke: #fffc; stroke-width: 2.6px } .crop .rim { stroke-width: 1.3px }
.crop .body { stroke-width: 1.2px; fill-opacity: .34 }
.crop line { stroke: #fff; stroke-width: 3px; vector-effect: non-scaling-stroke }
.crop line + line { stroke: #20202a; stroke-width: 1.6px }
.crop text { font-weight: 600; fill: #20202a; paint-order: stroke; stroke: #fffd }
@media (hover: hover) { .crop:hover .halo, .crop:hover .rim { opacity: 0 } }
dl { display: grid; grid-template-columns: 10.5rem 1fr; gap: 0; margin: .3rem 0 }
dt, dd { padding: .24rem 0; border-bottom: 1px solid var(--line); margin: 0 }
dt { color: var(--soft); font-size: .9rem } dd { overflow-wrap: anywhere; padding-left: .6rem }
.columns { display: grid; grid-template-columns: 1fr 1fr; gap: 0 2.2rem }
.columns dl { grid-template-columns: 6.6rem 1fr }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: 1rem }
.tiles img { display: block; width: 100%; height: 9.5rem; object-fit: contain;
  background: var(--pale); border-radius: 3px } .tiles b { overflow-wrap: anywhere }
footer { margin-top: 2.6rem; padding-top: .8rem; border-top: 1px solid var(--line);
  font-size: .82rem }
@media (max-width: 720px) { main { margin: 0; padding: 1.4rem 1.1rem; border-radius: 0 }
  header { display: block } .figures, .charts, .slide, .columns { grid-template-columns: 1fr 1fr }
  .slide, .columns { grid-template-columns: 1fr } .row { grid-template-columns: repeat(5, 1fr) }
  .figures li:nth-child(odd) { border-left: 0; padding-left: 0 }
  .scroll { overflow-x: auto } }
@page { size: A4; margin: 15mm 15mm 17mm;
  @bottom-left { content: "Research use. Not a medical device."; color: #5d5d6b;
    font: 7.5pt "Helvetica Neue", "Liberation Sans", Arial, sans-serif }
  @bottom-right { content: counter(page) " / " counter(pages); color: #5d5d6b;
    font: 7.5pt "Helvetica Neue", "Liberation Sans", Arial, sans-serif } }
@media print { html { background: none } body { font-size: 9.4pt; line-height: 1.42 }
  main { max-width: none; margin: 0; padding: 0; box-shadow: none; border-radius: 0 }
  h1 { font-size: 19pt } h2 { font-size: 12.5pt; margin-top: 7mm } .figures b { font-size: 18pt }
  .slide svg { max-height: 128mm } .charts { gap: 4mm 6mm }
  figure, tr, dl, .gallery, .charts, .notice, .figures { break-inside: avoid }
  h2, h3 { break-after: avoid } thead { display: table-header-group } a { color: inherit }
  .crop figcaption { font-size: 6.6pt } .tiles { grid-template-columns: repeat(5, 1fr) }
  .tiles img { height: 30mm } }
"""
