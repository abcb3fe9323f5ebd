"""The page of `Groups`: contact sheets in one HTML file, without network, script or other files."""

import base64
import io
from concurrent.futures import ThreadPoolExecutor
from html import escape

from mdl_tf.images import file as image_file
from mdl_tf.words import clean, count

_GROUPS, _COPIES, _ALONE = 100, 400, 24  # groups, of near-duplicates, and outliers that are shown
_TYPICAL, _UNUSUAL = 11, 4  # pictures of a group, after the most typical one
_NAMES = 20  # of a group without pictures
_SIDE, _LARGE = 120, 248  # pixels
_LABELS = 4  # of a group

_STYLE = """
:root { color-scheme: light; --ink: #1d2126; --quiet: #5b6470; --rule: #dfe3e8; --blue: #005a94;
  --orange: #b34700; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 80rem; padding: 2.5rem 2rem 4rem; color: var(--ink);
  background: #fff; font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue",
  Arial, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 1.25rem; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 2.5rem 0 .25rem; padding-top: .9rem;
  border-top: 1px solid var(--rule); }
h2 small { font-weight: 400; font-size: 1rem; color: var(--quiet); }
p { max-width: 46rem; margin: .4rem 0; }
.lead { border-left: 3px solid var(--blue); padding-left: 1.1rem; }
.quiet { color: var(--quiet); }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.5rem, 1fr)); gap: .7rem;
  grid-auto-flow: dense; list-style: none; margin: .8rem 0 0; padding: 0; }
.sheet li { font-size: .75rem; line-height: 1.3; color: var(--quiet); min-width: 0; }
.sheet li.most { grid-column: span 2; grid-row: span 2; }
.sheet img { display: block; width: 100%; height: 7.5rem; object-fit: contain;
  background: #f3f5f7; border-radius: 3px; border: 2px solid transparent; }
.sheet .most img { height: 16.6rem; border-color: var(--blue); }
.sheet .unusual img { border: 2px dashed var(--orange); }
.sheet .unusual b { color: var(--orange); font-weight: 600; }
.sheet .most b { color: var(--blue); font-weight: 600; }
.sheet span { display: -webkit-box; -webkit-line-clamp: 2; -webkit-box-orient: vertical;
  overflow: hidden; }
.gone { display: grid; place-items: center; height: 7.5rem; background: #f3f5f7; }
.names { columns: 18rem; font-size: .88rem; padding-left: 1.2rem; }
.copies { display: flex; flex-wrap: wrap; gap: 1.5rem 2.5rem; margin-top: 2rem; }
.copies h2 { border: 0; margin: 0; padding: 0; font-size: 1rem; }
.copies .sheet { display: flex; flex-wrap: wrap; margin-top: .3rem; }
.copies .sheet li { width: 7.5rem; }
@media (max-width: 700px) {
  body { padding: 1.25rem 1rem 3rem; }
  h1 { font-size: 1.45rem; }
  .sheet { grid-template-columns: repeat(auto-fill, minmax(5.4rem, 1fr)); gap: .5rem; }
  .sheet img, .gone { height: 5.4rem; }
  .sheet .most img { height: 12.8rem; }
  .copies .sheet li { width: 6.4rem; }
}
@media print { .sheet li { break-inside: avoid; } }
"""


def write_page(groups, title, progress=None):
    """A page of contact sheets.

    Args:
        groups: a `Groups`.
        title: of the page.
        progress: a function of (pictures done, pictures). Defaults to `None`.

    Returns:
        A string.
    """
    shown = groups.groups[: _COPIES if groups.are_copies else _GROUPS]
    chosen = {group.number: _choose(group, groups.are_copies) for group in shown}
    alone = [] if groups.are_copies else groups.outliers[:_ALONE]
    pictures = _Pictures([*chosen.values(), [("", member) for member in alone]], progress)
    sections = [_write_group(group, chosen[group.number], pictures) for group in shown]
    if len(groups) > len(shown):
        sections.append(
            f'<p class="quiet">{count(len(groups) - len(shown), "smaller group")} more: the table '
            "has all of them.</p>"
        )
    if alone:
        sections.append(_write_outliers(groups, alone, pictures))
    lead = "\n".join(f"<p>{_escape(text)}</p>" for text in describe(groups))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>{_escape(title)}</h1>
<div class="lead">
{lead}
</div>
</header>
<main{' class="copies"' if groups.are_copies else ""}>
{chr(10).join(sections)}
</main>
</body>
</html>
"""


def describe(groups):
    """What was found, in sentences.

    Args:
        groups: a `Groups`.

    Returns:
        A list of texts.
    """
    rest = f", and {count(len(groups.outliers), 'image')} in none" if groups.outliers else ""
    grouped = groups.images - len(groups.outliers)
    lines = [
        f"{count(grouped, 'image')} of {groups.images:,} in {count(len(groups), 'group')}{rest}.",
        f"How: {groups.method}.",
    ]
    agreement = None if groups.are_copies else groups.agreement
    if agreement is not None:
        lines.append(
            f"Agreement with the labels: NMI {agreement[0]:.3f}, F1 {agreement[1]:.3f} "
            "(1: groups and labels are the same)."
        )
    return lines


def describe_labels(members):
    """The labels of a group in words, the most frequent first; empty if it has none.

    Args:
        members: a `Group`.

    Returns:
        A text.
    """
    labels, size = members.labels, len(members.members)
    texts = [f"{clean(label, 40)} {amount / size:.0%}" for label, amount in labels[:_LABELS]]
    if len(labels) > _LABELS:
        texts.append(count(len(labels) - _LABELS, "other label"))
    return ", ".join(texts)


def _choose(group, are_copies):
    """The members that are shown, each with its class of the style sheet."""
    if are_copies:
        return [("", member) for member in group.members[: 1 + _TYPICAL]]
    typical = [("", member) for member in group.members if member.typical]
    unusual = [("unusual", member) for member in group.members if not member.typical]
    typical[0] = ("most", typical[0][1])
    return [*typical[: 1 + _TYPICAL], *unusual[-_UNUSUAL:]]


class _Pictures:
    """Small pictures of files as data of a page, read in parallel."""

    def __init__(self, lists, progress):
        wanted = [(kind, m.path) for chosen in lists for kind, m in chosen if m.path]
        self._data = {}
        with ThreadPoolExecutor() as threads:
            results = threads.map(lambda one: _read_picture(*one), wanted)
            for done, (one, data) in enumerate(zip(wanted, results, strict=True), 1):
                self._data[one] = data
                if progress:
                    progress(done, len(wanted))

    def item(self, kind, member):
        """A member as an item of a sheet."""
        name = _escape(member.name)
        data = self._data.get((kind, member.path))
        told = {"most": "<b>most typical</b> ", "unusual": "<b>unusual</b> "}.get(kind, "")
        picture = f'<img alt="" loading="lazy" src="{data}">'
        if data is None:
            picture = '<div class="gone">file is gone</div>'
        return f'<li class="{kind}" title="{name}">{picture}<span>{told}{name}</span></li>'


def _read_picture(kind, path):
    from PIL import Image

    try:
        small = image_file.thumbnail(path, _LARGE if kind == "most" else _SIDE)
    except Exception:  # each format has errors of its own, and the page is of more than this file
        return None
    with io.BytesIO() as file:
        Image.fromarray(small).convert("RGB").save(file, "JPEG", quality=82)
        return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _write_group(group, chosen, pictures):
    labels = describe_labels(group)
    labels = f'<p class="quiet">Labels: {_escape(labels)}</p>\n' if labels else ""
    unusual = sum(not member.typical for member in group.members)
    size = count(len(group.members), "image") + (f", {unusual:,} unusual" if unusual else "")
    return (
        f'<section id="group-{group.number}">\n'
        f"<h2>Group {group.number:,} <small>{size}</small></h2>\n"
        f"{labels}{_write_members(chosen, len(group.members), pictures)}\n</section>"
    )


def _write_outliers(groups, alone, pictures):
    amount = len(groups.outliers)
    first = f", the first {len(alone):,} of them" if amount > len(alone) else ""
    return (
        f'<section id="in-no-group">\n<h2>In no group <small>{count(amount, "image")}{first}'
        f"</small></h2>\n{_write_members([('', m) for m in alone], amount, pictures)}\n</section>"
    )


def _write_members(chosen, amount, pictures):
    if any(member.path for _, member in chosen):
        items = "\n".join(pictures.item(kind, member) for kind, member in chosen)
        return f'<ul class="sheet">\n{items}\n</ul>'
    names = [f"<li>{_escape(member.name)}</li>" for _, member in chosen[:_NAMES]]
    more = f'<p class="quiet">and {amount - len(names):,} more</p>' if amount > len(names) else ""
    return f'<ul class="names">\n{chr(10).join(names)}\n</ul>{more}'


def _escape(text):
    return escape(clean(text))
