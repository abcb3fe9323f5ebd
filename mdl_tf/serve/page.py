"""The page, as HTML: the form, an answer or examples, and what went wrong.

One page works without its script, too; the script sends the same form and takes over what has
changed.
"""

import base64
from html import escape
from urllib.parse import urlencode

from mdl_tf.serve.service import SIDE, as_jpeg
from mdl_tf.words import clean, count

SHOWN = (12, 24, 48)  # neighbors to choose from
# More labels are typed, as nobody looks for one in so long a list.
_LISTED = 1000
_COLUMNS = 3
_TYPES = "image/jpeg,image/png,image/webp,image/gif,image/bmp,image/tiff"


def write_page(view):
    """The whole page.

    Its own policy of referrers lets a form say where it comes from, which `Guard` looks at.

    Args:
        view: a dict; see `write_body`, and `name`, that of the index.

    Returns:
        A string.
    """
    name = _text(view["name"])
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="same-origin">
<title>{name}: search by picture</title>
<link rel="icon" href="/static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/static/page.css">
<script src="/static/page.js" defer></script>
</head>
<body>
<a class="skip" href="#results">To the results</a>
<header>
<h1><a href="/">{name}</a></h1>
<p>{_text(view["about"])}</p>
</header>
{write_body(view)}
</body>
</html>
"""


def write_body(view):
    """The main part of the page.

    Args:
        view: a dict: `labels`, pairs of a label and how many have it; `label`, `k`, as chosen;
            `takes_pictures`; `answer`, an `Answer` or `None`; `pixels`, of the picture that was
            sent, or `None`; `examples`, `Entry`s; `message`, what went wrong, or
            `None`; `most`, bytes of a picture.

    Returns:
        A string.
    """
    message = "" if view["message"] is None else f"<p>{_text(view['message'])}</p>"
    return f"""<main>
<form id="search" method="post" action="/" enctype="multipart/form-data" data-most="{view["most"]}">
{_write_query(view)}
<div class="options">
{_write_labels(view)}
<p class="field"><label for="k">Show</label>
<select id="k" name="k">{_options([(k, str(k)) for k in SHOWN], view["k"])}</select></p>
</div>
<p><button id="submit" class="button">Search</button></p>
</form>
<div class="found">
<div id="message" role="alert">{message}</div>
<p id="status" role="status" class="unseen"></p>
{_write_results(view)}
</div>
</main>"""


def _write_query(view):
    """What is looked for, and how to look for something else."""
    answer, entry, image = view["answer"], None, ""
    if answer is not None:
        entry = answer.query
    if view["pixels"] is not None:
        data = base64.b64encode(as_jpeg(view["pixels"])).decode()
        image = f'<img src="data:image/jpeg;base64,{data}" alt="The picture that you sent">'
        image = f"<figure>{image}<figcaption>Your picture</figcaption></figure>"
    elif entry is not None:
        title = _text(entry.hit.label or entry.hit.name)
        picture = _image(entry, f"Looked for: {title}") if entry.has_file else ""
        small = _text(_below_label(entry.hit))
        words = f'<b class="two">{title}</b><span class="cut">{small}</span>'
        image = f"<figure>{picture}<figcaption>{words}</figcaption></figure>"
    hidden = f'<input type="hidden" name="id" value="{entry.id if entry else ""}">'
    if not view["takes_pictures"]:
        told = (
            "This index has no model for pictures. Choose one of its entries; "
            "<code>POST /search</code> takes vectors."
        )
        return f'<div id="query" class="drop">{image}<p>{told}</p>{hidden}</div>'
    return f"""<div id="query" class="drop">{image}
<input id="picture" class="unseen" type="file" name="picture" accept="{_TYPES}">
<label for="picture" class="button main">Choose a picture</label>
<p class="hint">or drop or paste one here</p>
{hidden}</div>"""


def _write_labels(view):
    labels, chosen = view["labels"], view["label"]
    if not labels:
        return '<input type="hidden" name="label" value="">'
    if len(labels) > _LISTED:
        shown = "".join(f'<option value="{_exact(label)}">' for label, _ in labels[:_LISTED])
        return (
            '<p class="field wide"><label for="label">Label</label>'
            f'<input id="label" name="label" list="labels" value="{_exact(chosen or "")}" '
            f'placeholder="All {len(labels):,}" autocomplete="off">'
            f'<datalist id="labels">{shown}</datalist></p>'
        )
    rows = [("", f"All {len(labels):,}" if len(labels) > 1 else "All")]
    rows += sorted((label, f"{clean(label, 60)} ({number:,})") for label, number in labels)
    return (
        '<p class="field wide"><label for="label">Label</label>'
        f'<select id="label" name="label">{_options(rows, chosen or "")}</select></p>'
    )


def _options(rows, chosen):
    return "".join(
        f'<option value="{_exact(value)}"{" selected" if value == chosen else ""}>'
        f"{_text(shown)}</option>"
        for value, shown in rows
    )


def _write_results(view):
    answer = view["answer"]
    if answer is None:
        return _write_examples(view)
    same = [answer.same(entry) for entry in answer.entries]
    lines = []
    if not answer.entries:
        title = "Nothing found"
    else:
        title = f"The nearest {count(len(answer.entries), 'image')}"
        if answer.verdict.threshold is not None:
            title += f", {sum(same) or 'none'} the same"
    if view["label"]:
        lines.append(f"Only with the label {clean(view['label'], 60)}.")
    if answer.verdict.threshold is None:
        lines.append(f"{answer.verdict.reason}, so nothing says which are the same.")
    else:
        lines.append(f"\u201cSame\u201d is a distance of {answer.verdict.reason}.")
    items = "\n".join(
        _write_hit(entry, is_same, view)
        for entry, is_same in zip(answer.entries, same, strict=True)
    )
    return f"""<section id="results" aria-labelledby="title">
<h2 id="title" tabindex="-1">{_text(title)}</h2>
<p class="hint">{_text(" ".join(lines))}</p>
<ol class="hits">
{items}
</ol>
</section>"""


def _write_examples(view):
    items = "\n".join(_write_hit(entry, None, view, far=False) for entry in view["examples"])
    if items:
        title, hint = "Or begin with one of these", "Choose one to see what is near it."
    elif view["label"]:
        title, hint = "Nothing found", f"No image has the label {clean(view['label'], 60)}."
    else:
        title, hint = "The index is empty", "Add images with mdl-tf index add."
    return f"""<section id="results" aria-labelledby="title">
<h2 id="title" tabindex="-1">{title}</h2>
<p class="hint">{_text(hint)}</p>
<ol class="hits">
{items}
</ol>
</section>"""


def _write_hit(entry, same, view, far=True):
    hit = entry.hit
    query = {"id": entry.id, "k": view["k"]}
    if view["label"]:
        query["label"] = view["label"]
    title = _text(hit.label or hit.name)
    image = _image(entry, "") if entry.has_file else '<span class="noimage"></span>'
    name = f'<span class="name cut">{_text(_below_label(hit))}</span>' if hit.label else ""
    # Of columns of the user's own the first few, as they are for filters in the first place.
    for column, value in list(hit.columns.items())[:_COLUMNS]:
        name += f'<span class="name cut">{_text(column)}: {_text(value)}</span>'
    facts = f'<span class="distance">{hit.distance:.3f}</span>' if far else ""
    if same is not None:
        word = "same" if same else "not the same"
        facts += f'<span class="badge {"yes" if same else "no"}">{word}</span>'
    facts = f'<span class="facts">{facts}</span>' if facts else ""
    href = escape(f"/?{urlencode(query, errors='replace')}")
    return (
        f'<li><a class="hit" href="{href}" title="{_text(hit.name)}">{image}'
        f'<b class="two">{title}</b>{name}{facts}</a></li>'
    )


def _below_label(hit):
    """The name of a hit that stands below its label, without saying that again."""
    return hit.name.removeprefix(f"{hit.label}/") if hit.label else ""


def _image(entry, alt):
    # Beside its name an image needs no other words.
    return (
        f'<img src="/image/{entry.id}" alt="{alt}" width="{SIDE}" height="{SIDE}" decoding="async">'
    )


def _text(text):
    return escape(clean(str(text), 200))


def _exact(text):
    """A text as it must come back; halves of characters, which a page cannot hold, do not."""
    return escape(str(text).encode(errors="replace").decode())
