"""What browsers load: pages, scripts, style sheets, feeds, answers of APIs."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

from bench import content
from bench.content import seeded
from tests.benign import pictures
from tests.engines.starter_case import IEX, PS, WEB_CLIENT

_HEAD = '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Opening hours</title>'
_MINIFIED = (
    "/*! library 3.4 | (c) its authors | licence MIT */\n"
    '!function(e,t){"object"==typeof exports&&"undefined"!=typeof module?t(exports):"function"==typeof define&&'
    'define.amd?define(["exports"],t):t((e="undefined"!=typeof globalThis?globalThis:e||self).lib={})}(this,function(e'
    '){"use strict";var t=Object.prototype.hasOwnProperty,n=/%[sdj%]/g,r=String.fromCharCode;function i(e){return e.re'
    'place(n,function(e){return"%%"===e?"%":r(e.charCodeAt(0))})}function o(e,t){var n=new XMLHttpRequest;n.open("GET'
    '",e,!0),n.onload=function(){t(JSON.parse(n.responseText))},n.send(null)}function a(e){return btoa(unescape(encode'
    "URIComponent(e)))}function s(e){return decodeURIComponent(escape(atob(e)))}e.format=i,e.load=o,e.pack=a,e.open=s});\n"
)
_DOWNLOAD = """
function save(rows) {
  const text = rows.map(row => row.map(cell => JSON.stringify(cell)).join(',')).join('\\r\\n');
  const url = URL.createObjectURL(new Blob([text], {type: 'text/csv'}));
  const link = document.createElement('a');
  link.href = url; link.download = 'report.csv'; link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
function thumbnail(data) {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
  return URL.createObjectURL(new Blob([bytes], {type: 'image/png'}));
}
"""
_LINKED_DATA = {
    "@context": "https://schema.org",
    "@type": "Restaurant",
    "name": "The Soup Kitchen",
    "openingHours": "Mo-Fr 09:00-17:00",
    "geo": {"@type": "GeoCoordinates", "latitude": 52.1, "longitude": 4.3},
}
_INSTALL_PAGE = f"""<h1>Install</h1><p>On Windows, in {PS.title()}:</p>
<pre><code>irm https://example.test/install.ps1 | {IEX.lower()}</code></pre>
<p>Elsewhere:</p><pre>curl -LsSf https://example.test/install.sh | sh</pre>"""
_README = f"""# soup

A tool that counts soup.

## Install

On Linux and macOS:

```sh
curl -LsSf https://example.test/install.sh | sh
```

On Windows:

```
{PS} -c "irm https://example.test/install.ps1 | {IEX.lower()}"
```

Or with the older way, `{IEX} (New-Object {WEB_CLIENT}).DownloadFile`, which needs no module.

## Use

    soup count bowl.txt

## Licence

MIT.
"""


def bodies() -> Iterator[tuple[str, bytes]]:
    source = seeded(1)
    for size_bytes in (300, 4_000, 40_000, 400_000):
        yield f"page-{size_bytes}.html", content.html(source, size_bytes)
        yield f"script-{size_bytes}.js", content.javascript(source, size_bytes)
        yield f"items-{size_bytes}.json", content.json_items(source, size_bytes)
        yield f"sheet-{size_bytes}.css", content.css(source, size_bytes)
        yield f"drawing-{size_bytes}.svg", content.svg(source, size_bytes)
    yield from _pages()
    yield from _scripts()
    yield from _answers()
    yield from _drawings()
    yield "README.md", _README.encode()
    yield "README.rst", b"Soup\n====\n\n.. code-block:: shell\n\n   curl https://example.test/a | sh\n"


def _pages() -> Iterator[tuple[str, bytes]]:
    picture = base64.b64encode(pictures.photograph("PNG", 160)).decode()
    photograph = base64.b64encode(pictures.photograph("JPEG", 200)).decode()
    inline = "".join(
        f'<img alt="a" src="data:image/{kind};base64,{data}">'
        for kind, data in (("png", picture), ("jpeg", photograph))
    )
    yield "inline-pictures.html", f"{_HEAD}</head><body>{inline * 3}</body></html>".encode()
    linked = json.dumps(_LINKED_DATA)
    yield "linked-data.html", f'{_HEAD}<script type="application/ld+json">{linked}</script></head></html>'.encode()
    yield "inline-script.html", f"{_HEAD}<script>{_MINIFIED}{_DOWNLOAD}</script></head><body></body></html>".encode()
    yield (
        "preview.html",
        f'{_HEAD}</head><body><script>{_DOWNLOAD}thumbnail("{picture}")</script></body></html>'.encode(),
    )
    yield "install.html", f"{_HEAD}</head><body>{_INSTALL_PAGE}</body></html>".encode()
    form = '<form action="/login" method="post"><input name="user"><input name="password" type="password"></form>'
    yield "login.html", f"{_HEAD}</head><body>{form}</body></html>".encode()
    frame = '<iframe src="https://www.example.test/embed/1" allowfullscreen></iframe><video src="/a.mp4" controls></video>'
    yield "frame.html", f"{_HEAD}</head><body>{frame}</body></html>".encode()
    yield "utf16.html", f"{_HEAD}</head><body>Suppe für alle</body></html>".encode("utf-16")
    yield "latin1.html", f"{_HEAD}</head><body>Suppe für alle</body></html>".encode("latin-1")
    yield "xhtml.xhtml", f'<?xml version="1.0"?>{_HEAD.replace("html ", "html ", 1)}</head><body/></html>'.encode()
    yield (
        "old.html",
        b"<HTML><HEAD><TITLE>old</TITLE></HEAD><BODY BGCOLOR=#FFFFFF><FONT FACE=Arial>x</FONT></BODY></HTML>",
    )
    yield "template.html", b"<div>{{ user.name }}</div>\n<% if (a) { %><b><%= a %></b><% } %>\n" * 50
    yield (
        "reset.html",
        f'{_HEAD}<meta http-equiv="refresh" content="0; url=https://example.test/"></head></html>'.encode(),
    )


def _scripts() -> Iterator[tuple[str, bytes]]:
    yield "library.min.js", _MINIFIED.encode() * 30
    yield "download.js", _DOWNLOAD.encode() * 5
    yield (
        "module.mjs",
        b"import { a } from './a.mjs';\nexport const b = async () => (await fetch('/x')).json();\n" * 40,
    )
    yield "types.d.ts", b"declare module 'soup' {\n  export function count(bowl: string): number;\n}\n" * 40
    yield "component.tsx", b"export const A = ({name}: Props) => <p className='a'>Hello {name}</p>;\n" * 40
    yield "view.vue", b"<template><p>{{ a }}</p></template>\n<script>export default {data: () => ({a: 1})}</script>\n"
    mapping = {
        "version": 3,
        "sources": [f"src/{number}.ts" for number in range(40)],
        "names": ["a", "b", "eval"],
        "mappings": ";AAAA,IAAI,GAAG,CAAC;AACZ,QAAQ,EAAE,CAAC;" * 900,
        "sourcesContent": [_DOWNLOAD] * 40,
    }
    yield "library.min.js.map", json.dumps(mapping).encode()
    inline = base64.b64encode(json.dumps(mapping).encode()).decode()
    yield (
        "with-map.js",
        _MINIFIED.encode() + f"//# sourceMappingURL=data:application/json;base64,{inline}\n".encode(),
    )
    loader = (
        '(self.webpackChunk=self.webpackChunk||[]).push([[179],{4155:(e,t,n)=>{"use strict";n.r(t),n.d(t,{a:()=>r});'
        'const r=n.p+"static/media/logo.5d5d9eef.svg"},9417:e=>{e.exports=new Function("return this")()}}]);\n'
    )
    yield "chunk.js", (loader * 60).encode()
    evaluated = 'eval("var a = 1;\\n//# sourceURL=webpack:///./src/a.js?");\n'
    yield "development.js", (evaluated * 200).encode()
    worker = "self.addEventListener('fetch', e => e.respondWith(caches.match(e.request).then(r => r || fetch(e.request))));"
    yield "worker.js", worker.encode()
    binary = base64.b64encode(seeded(7).randbytes(9000)).decode()
    yield "with-wasm.js", f'const b = Uint8Array.from(atob("AGFzbQEAAAA{binary}"), c => c.charCodeAt(0));'.encode()
    yield (
        "analytics.js",
        b"(function(w,d,s,l,i){w[l]=w[l]||[];var f=d.getElementsByTagName(s)[0],j=d.createElement(s);" * 9,
    )
    font = base64.b64encode(content.woff2(seeded(8), 9000)).decode()
    yield (
        "fonts.css",
        f"@font-face{{font-family:a;src:url(data:font/woff2;base64,{font}) format('woff2')}}".encode() * 3,
    )
    yield "style.scss", b"$a: 1px;\n.a { .b { margin: $a; &:hover { color: red; } } }\n" * 40


def _answers() -> Iterator[tuple[str, bytes]]:
    yield "token.json", json.dumps({"token": f"{'eyJhbGciOiJSUzI1NiJ9' * 30}.{'a' * 900}.{'b-_' * 200}"}).encode()
    registry = {"name": "soup", "versions": {f"1.{n}": {"dist": {"shasum": f"{n:040x}"}} for n in range(300)}}
    yield "registry.json", json.dumps({**registry, "readme": _README}).encode()
    thumbnails = [base64.b64encode(pictures.photograph("PNG", 48 + n)).decode() for n in range(6)]
    yield "thumbnails.json", json.dumps({"pictures": thumbnails}).encode()
    yield "lines.ndjson", b"".join(json.dumps({"id": n, "level": "info"}).encode() + b"\n" for n in range(500))
    yield "graph.json", json.dumps({"data": {"user": {"posts": [{"id": n} for n in range(300)]}}}).encode()
    yield "callback.js", b"/**/callback_1(" + json.dumps({"items": list(range(300))}).encode() + b");"
    yield "guarded.json", b")]}'\n" + json.dumps([["wrb.fr", None, [1, 2, 3]]] * 50).encode()
    yield "places.geojson", json.dumps({"type": "FeatureCollection", "features": [{"type": "Feature"}] * 90}).encode()
    yield "notebook.ipynb", json.dumps({"cells": [{"cell_type": "code", "source": ["import os\n"]}] * 30}).encode()
    item = "<item><title>Soup</title><link>https://example.test/1</link><description>&lt;p&gt;warm&lt;/p&gt;</description></item>"
    yield "feed.rss", f'<?xml version="1.0"?><rss version="2.0"><channel>{item * 60}</channel></rss>'.encode()
    yield (
        "sitemap.xml",
        b'<?xml version="1.0"?><urlset>' + b"<url><loc>https://example.test/</loc></url>" * 500 + b"</urlset>",
    )
    soap = (
        '<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body/></s:Envelope>'
    )
    yield "answer.xml", soap.encode()
    yield "list.m3u8", b"#EXTM3U\n#EXT-X-VERSION:3\n" + b"#EXTINF:6.0,\nsegment.ts\n" * 200
    yield "captions.vtt", b"WEBVTT\n\n" + b"00:01.000 --> 00:04.000\nSoup is served.\n\n" * 200
    yield "robots.txt", b"User-agent: *\nDisallow: /admin/\n" * 30
    yield (
        "manifest.webmanifest",
        json.dumps({"name": "Soup", "icons": [{"src": "/a.png", "sizes": "48x48"}]}).encode(),
    )
    yield (
        "calendar.ics",
        b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nSUMMARY:Soup\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
    )
    yield "card.vcf", b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:A Cook\r\nEMAIL:a@example.test\r\nEND:VCARD\r\n" * 20


def _drawings() -> Iterator[tuple[str, bytes]]:
    picture = base64.b64encode(pictures.photograph("PNG", 90)).decode()
    head = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 90 90">'
    yield "with-picture.svg", f'{head}<image xlink:href="data:image/png;base64,{picture}"/></svg>'.encode()
    yield (
        "styled.svg",
        f"<?xml version='1.0'?>{head}<style>.a{{fill:red}}</style><path class='a' d='M0 0'/></svg>".encode(),
    )
    yield "linked.svg", f'{head}<a xlink:href="https://example.test/"><text>soup</text></a></svg>'.encode()
    yield "animated.svg", f'{head}<rect><animate attributeName="x" from="0" to="9" dur="1s"/></rect></svg>'.encode()
