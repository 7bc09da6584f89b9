"""What the pages of the embedded Hub look like: Jinja templates, escaped by themselves."""

_FRAME = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{{ title }}</title>
<style>
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--link:#2563eb}
@media(prefers-color-scheme:dark){:root{--link:#8ab4ff}}
body{font:16px/1.55 system-ui,sans-serif;max-width:64rem;margin:0 auto;padding:1rem 1.25rem 4rem}
a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}
.note{opacity:.65;font-size:.9rem}h1.name{font-size:1.4rem;margin:.4rem 0}
nav{display:flex;gap:1.25rem;border-bottom:1px solid var(--line);margin:.8rem 0 1.4rem}
nav a{padding:.35rem 0}nav a.here{border-bottom:2px solid var(--link);font-weight:600}
table{border-collapse:collapse;display:block;overflow-x:auto;max-width:100%}
td,th{border:1px solid var(--line);padding:.25rem .7rem;text-align:left;vertical-align:top}
th{background:var(--soft)}pre{background:var(--soft);padding:.9rem;overflow:auto;border-radius:6px}
code{font-size:.9em}:not(pre)>code{background:var(--soft);padding:.1em .3em;border-radius:4px}
img{max-width:100%;height:auto}article p,article li,.box dd{overflow-wrap:anywhere}
blockquote{border-left:3px solid var(--line);margin-left:0;padding-left:1rem}
.box{border:1px solid var(--line);border-radius:8px;padding:.6rem 1rem;margin-bottom:1.5rem}
.box dl{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1rem;margin:.2rem 0}
.box dt{opacity:.65}.box dd{margin:0}.chip{background:var(--soft);border:1px solid var(--line);
border-radius:999px;padding:.05rem .6rem;margin:0 .25rem .2rem 0;display:inline-block;
font-size:.85rem}
.size{text-align:right;white-space:nowrap}
</style>
<p class="note"><a href="/">evalkit's embedded Hub</a>: a rehearsal stage on this machine</p>
{% block body %}{% endblock %}</html>"""
_REPOSITORY = """{% extends "frame" %}{% block body %}<h1 class="name">{{ title }}
{% if private %}<span class="chip">private</span>{% endif %}
{% if kind == "dataset" %}<span class="chip">dataset</span>{% endif %}</h1>
<nav>{% for key, label, href in (
("card", "Card", prefix), ("files", "Files", prefix ~ "/tree/main"),
("history", "History", prefix ~ "/commits/main"),
("discussions", "Discussions", prefix ~ "/discussions")) %}
<a href="{{ href }}"{% if tab == key %} class="here"{% endif %}>{{ label }}</a>{% endfor %}</nav>
{% block content %}{% endblock %}{% endblock %}"""
_INDEX = """{% extends "frame" %}{% block body %}<h1>{{ title }}</h1>
{% for heading, rows in groups %}<h2>{{ heading }}</h2>
<ul>{% for href, name in rows %}<li><a href="{{ href }}">{{ name }}</a></li>
{% else %}<li class="note">none{{ "" if user else " that everyone may see" }}</li>
{% endfor %}</ul>{% endfor %}
<p class="note">{% if user %}seen by {{ user }}{% else %}<a href="/login">sign in</a>
for private ones: any name, and as password what <code>evalkit hub token</code> prints
{% endif %}</p>
{% endblock %}"""
_CARD = """{% extends "repository" %}{% block content %}
{% if box %}<div class="box" id="front-matter"><dl>{% for key, items in box %}<dt>{{ key }}</dt>
<dd>{% for text, href in items %}<span class="chip">{% if href %}<a href="{{ href }}">{{ text }}</a>
{% else %}{{ text }}{% endif %}</span>{% endfor %}</dd>{% endfor %}</dl></div>{% endif %}
<article>{{ card }}</article>
{% if not has_card %}<p class="note">This repository has no card.</p>{% endif %}
{% if yaml %}<details><summary class="note">front matter as it stands</summary>
<pre>{{ yaml }}</pre></details>{% endif %}
<p class="note">commit
<a href="{{ prefix }}/commit/{{ commit.id }}"><code>{{ commit.id[:12] }}</code></a>,
{{ commit.title }}</p>{% endblock %}"""
_FILES = """{% extends "repository" %}{% block content %}
<p><code>{{ commit.id[:12] }}</code> {{ path }}</p>
<table><tr><th>name<th>size<th>sha256 or git id</tr>
{% for row in rows %}<tr>
<td><a href="{{ prefix }}/tree/{{ commit.id }}/{{ row.path|address }}">
{{- row.path }}{{ "/" if row.type == "directory" }}</a></td>
<td class="size">{{ "{:,}".format(row.size) if row.type == "file" }}</td>
<td><code>{{ (row.lfs.oid if row.lfs else row.oid)[:16] }}</code>{{ " LFS" if row.lfs }}</td></tr>
{% endfor %}</table>{% endblock %}"""
_FILE = """{% extends "repository" %}{% block content %}
<p><a href="{{ prefix }}/tree/{{ commit.id }}"><code>{{ commit.id[:12] }}</code></a> {{ path }},
{{ "{:,}".format(entry.size) }} bytes,
<a href="{{ prefix }}/resolve/{{ commit.id }}/{{ path|address }}">download</a></p>
{% if shown == "text" %}<pre>{{ text }}</pre>
{% elif shown == "picture" %}
<img src="{{ prefix }}/resolve/{{ commit.id }}/{{ path|address }}" alt="">
{% else %}<p class="note">not shown</p>{% endif %}{% endblock %}"""
_HISTORY = """{% extends "repository" %}{% block content %}<ul>{% for one in commits %}
<li><a href="{{ prefix }}/commit/{{ one.id }}"><code>{{ one.id[:12] }}</code></a> {{ one.title }}
<span class="note">{{ one.author }}, {{ one.date }}</span></li>{% endfor %}</ul>{% endblock %}"""
_COMMIT = """{% extends "repository" %}{% block content %}<h2>{{ commit.title }}</h2>
<p class="note">{{ commit.author }}, {{ commit.date }}, <code>{{ commit.id }}</code></p>
{% if commit.message %}<pre>{{ commit.message }}</pre>{% endif %}
<table>{% for what, path in rows %}<tr><td>{{ what }}</td><td>{{ path }}</td></tr>
{% endfor %}</table>
<p><a href="{{ prefix }}/tree/{{ commit.id }}">all files at this commit</a></p>{% endblock %}"""
_DISCUSSIONS = """{% extends "repository" %}{% block content %}<ul>{% for value in rows %}
<li><a href="{{ prefix }}/discussions/{{ value.num }}">#{{ value.num }} {{ value.title }}</a>
<span class="chip">{{ value.status }}</span>
<span class="note">{{ "pull request" if value.is_pull_request }} {{ value.author }}</span></li>
{% else %}<li class="note">none</li>{% endfor %}</ul>{% endblock %}"""
_DISCUSSION = """{% extends "repository" %}{% block content %}
<h2>#{{ value.num }} {{ value.title }} <span class="chip">{{ value.status }}</span></h2>
{% for event in value.events %}<div class="box">
<p class="note">{{ event.author.name }}, {{ event.createdAt }},
{{ event.type }}</p>{% if event.type == "comment" %}<pre>{{ event.data.latest.raw }}</pre>
{% else %}{{ event.data.subject or event.data.status or event.data.to }}{% endif %}</div>
{% endfor %}
{% endblock %}"""
_COLLECTION = """{% extends "frame" %}{% block body %}<h1>{{ title }}</h1>
<p>{{ value.description }}</p><ol>{% for item in value["items"] %}<li>
<a href="/{{ 'datasets/' if item.type == 'dataset' }}{{ item.id }}">{{ item.id }}</a>
{{ item.note.text if item.note }}</li>{% endfor %}</ol>{% endblock %}"""

ALL = {
    "frame": _FRAME, "repository": _REPOSITORY, "index": _INDEX, "card": _CARD, "files": _FILES,
    "file": _FILE, "history": _HISTORY, "commit": _COMMIT, "discussions": _DISCUSSIONS,
    "discussion": _DISCUSSION, "collection": _COLLECTION,
}  # fmt: skip
