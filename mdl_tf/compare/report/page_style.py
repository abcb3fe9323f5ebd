"""How a report looks: the style sheet of `page`."""

STYLE = """
:root { color-scheme: light; --ink: #1d2126; --quiet: #5b6470; --rule: #dfe3e8; --blue: #005a94;
  --pale: #f6f8fa; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 80rem; padding: 2.5rem 2rem 4rem; color: var(--ink);
  background: #fff; font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue",
  Arial, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 1.25rem; letter-spacing: -0.01em; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 3.25rem 0 .75rem; padding-top: .9rem;
  border-top: 1px solid var(--rule); }
h2 a { color: inherit; text-decoration: none; }
h2 a:hover::after { content: " #"; color: var(--quiet); }
p { max-width: 46rem; margin: .75rem 0; }
.lead { border-left: 3px solid var(--blue); padding-left: 1.1rem; font-size: 1.1rem; }
.lead p + p { font-size: 1rem; color: var(--quiet); }
a { color: var(--blue); }
nav ol { list-style: none; margin: 1.5rem 0 0; padding: 0; display: flex; flex-wrap: wrap;
  gap: .35rem 1.25rem; font-size: .92rem; }
.scroll { overflow-x: auto; max-width: 100%; margin: 1.1rem 0; width: fit-content;
  -webkit-overflow-scrolling: touch; }
table { border-collapse: separate; border-spacing: 0; font-size: .82rem; line-height: 1.35;
  font-variant-numeric: tabular-nums lining-nums; overflow-wrap: normal; }
th, td { padding: .42rem .45rem; text-align: right; white-space: nowrap; vertical-align: top;
  border-bottom: 1px solid var(--rule); }
thead th { font-weight: 600; white-space: normal; color: var(--quiet); vertical-align: bottom;
  border-bottom: 1.5px solid #aab2bd; }
.words { text-align: left; }
td.words { white-space: normal; overflow-wrap: break-word; min-width: 5.5rem; max-width: 34rem; }
th[scope=row] { text-align: left; font-weight: 500; white-space: normal; min-width: 7rem;
  max-width: 19rem; overflow-wrap: break-word; }
th:first-child { position: sticky; left: 0; background: #fff; padding-left: 0; }
tr.strong > * { background: var(--pale); }
tr.strong > th { font-weight: 700; }
tr.apart > * { color: var(--quiet); }
tr.first > * { border-top: 1.5px solid #aab2bd; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr));
  gap: 1.1rem 1.5rem; margin: 1.1rem 0; align-items: start; }
.gallery img { display: block; width: 100%; max-width: 27rem; height: auto; }
.gallery.wide { grid-template-columns: 1fr; }
.gallery.wide img { width: auto; max-width: 100%; }
.gone { color: var(--quiet); }
details { border-top: 1px solid var(--rule); padding: .5rem 0; }
details + details { margin-top: 0; }
summary { cursor: pointer; font-weight: 500; color: var(--blue); padding: .15rem 0; }
@media (max-width: 700px) {
  body { padding: 1.25rem 1rem 3rem; }
  h1 { font-size: 1.45rem; }
  .lead { font-size: 1.02rem; }
  h2 { margin-top: 2.5rem; }
  .gallery { grid-template-columns: 1fr; }
  nav li { padding: .2rem 0; }
  th[scope=row] { min-width: 5.5rem; max-width: 8.5rem; }
  td.words { min-width: 8rem; }
}
@media print {
  .scroll { overflow: visible; }
  section { break-inside: auto; }
  img, tr { break-inside: avoid; }
}
"""
