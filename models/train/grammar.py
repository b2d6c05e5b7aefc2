"""Generated requests of a second origin, apart from `recipes.py`: attacks from grammars, wrapped and placed everywhere a
field can stand; and honest requests that look odd: query languages, code that people paste, templates, telemetry,
protocols on top of HTTP, many scripts. Nothing is copied from a corpus, and no word list is shared with `recipes.py`.

Enters: two counts and a seed. Leaves: labelled requests in the `eval` format, on standard output.
"""

import base64
import json
import random
import sys
import urllib.parse

import recipes
from grammar_attacks import NAMES, Attacks, wrapped

SCRIPTS = [("latin", "aábcčdeéfghiíjklmnoópqrsštuúvwxyýzžñçßøåäöü"), ("cyrillic", "абвгдеёжзийклмнопрстуфхцчшщъыьэюя"), ("greek", "αβγδεζηθικλμνξοπρστυφχψω"), ("arabic", "ابتثجحخدذرزسشصضطظعغفقكلمنهوي"), ("hebrew", "אבגדהוזחטיכלמנסעפצקרשת"), ("devanagari", "अआइईउऊएकखगघचछजटडतथदधनपफबभमयरलवशसह"), ("hangul", "가나다라마바사아자차카타파하거너더러머버서어"), ("kana", "あいうえおかきくけこさしすせそたちつてとアイウエオカキクケコ"), ("han", "的一是不了人我在有他这中大来上国个到说们为子和你地出"), ("thai", "กขคงจฉชซญดตถทธนบปผฝพฟมยรลวศสหอ")]
PROSE = """about after again against almost along already also always another answer anything around because become before began behind being below between both bring brought build called came cannot carry change child children close could country course different does done door down during
each early earth easy enough even evening ever every example eyes face fact family far father feel feet felt few find first following food found four friend from gave girl give good great green ground group grow half hand happened hard head hear heard heart held help here high himself hold home
hope hour however human hundred idea important inside instead interest itself keep kept kind knew know large last late later learn least leave left less letter life light line little live long look lost love machine made make many matter maybe mean might mind minutes moment money month morning
mother move much must near need never night nothing number often once only open order other over paper part party past people perhaps person picture piece place point possible power present problem question quite rather reach ready real reason red remember rest right river road room round said same
saw school second seem seen sentence set several shall she short should show side simple since six small some something sometimes soon sound south special stand start state stay still stood stop story street strong study such summer sun sure table take talk tell than thank their them then there these
they thing think though thought thousand three through time today together told tomorrow took toward town tree tried true try turn twelve two under until upon usually very voice wait walk want warm watch water week well went were west what when where which while white whole whose why wind winter with
within without woman word work world would write year yes yet you young""".split()
CODE = [
    "SELECT {a}, COUNT(*) FROM {b} WHERE {c} > {n} GROUP BY {a} ORDER BY 2 DESC", "for ({a} = 0; {a} < {n}; {a}++) {{ {b}[{a}] = {c}({a}); }}", "def {a}({b}, {c}=None):\n    return {b} if {c} is None else {c}[{n}]", "const {{ {a}, {b} }} = await import('./{c}.js');", "if ({a} && {b} !== '{c}') {{ return {n}; }}", "<div class=\"{a}\">\n  <span>{b}</span>\n</div>", "{a} | grep {b} | sort -u > {c}.txt",
    "try {{ {a}.{b}(); }} catch (e) {{ console.log(e.message); }}", "import {a} from '{b}';\nexport default class {c} {{}}", "public static void main(String[] args) {{ System.out.println(\"{a}\"); }}", "#include <stdio.h>\nint main(void) {{ printf(\"%d\\n\", {n}); }}", "let {a}: Vec<u8> = {b}.iter().map(|x| x + {n}).collect();", "$ npm install --save {a}\n$ {b} --version", "sudo apt-get install {a} && systemctl restart {b}", "git commit -m \"{a}: {b} {c}\" && git push",
    "UPDATE {a} SET {b} = '{c}' WHERE id = {n};", "body {{ margin: 0; background: url('/img/{a}.png') no-repeat; }}", "<script src=\"/js/{a}.js\"></script>", "{{{{ {a}.{b} | default('{c}') }}}}", "docker run -d -p {n}:80 --name {a} {b}:latest", "curl -s https://{a}.example.com/{b} | jq '.{c}'", "[{a}]\n{b} = {c}\nport = {n}", "{a}: \n  - {b}\n  - {c}: {n}\n", "SELECT * FROM {a} LEFT JOIN {b} ON {a}.id = {b}.{c}_id", "print(f\"{{{a}}} of {{{b}}}\")", "@media (max-width: {n}px) {{ .{a} > .{b}:hover {{ display: none; }} }}",
    "Error: {a} is undefined at {b}.js:{n}:12", "[2026-05-0{d} 12:0{d}:11] {a}.ERROR: {b} failed {{\"exception\":\"{c}\"}}", "\\frac{{{n}}}{{{a}^2}} + \\sqrt{{{b}}}", "=SUM(A1:A{n})*IF(B2>0,\"{a}\",\"{b}\")", "diff --git a/{a}.c b/{a}.c\n@@ -1,{d} +1,{d} @@\n-  {b}\n+  {c}", "<a href=\"https://www.example.com/{a}?b={n}\" onclick=\"return track('{b}')\">{c}</a>", "function {a}(x) {{ return x * {n} }} // {b}", "^[a-z0-9_]{{{d},{n}}}$", "BEGIN; DELETE FROM {a} WHERE {b} IS NULL; COMMIT;",
]
QUERIES = [
    "{a}:({b} OR {c}) AND -{d}", "title:\"{a} {b}\"~2 AND date:[2020-01-01 TO *]", "project = {a} AND status in (Open, \"In Progress\") ORDER BY created DESC", "$filter={a} eq '{b}' and {c} lt {n}", "sum(rate({a}_total{{job=\"{b}\",code=~\"5..\"}}[5m])) by (le)", "{{{a}=\"{b}\"}} |= \"{c}\" != \"{d}\"", "(&(objectClass=person)(cn={a}*))", "contains({a},'{b}')", "{a}[{b}][{c}]", "!((a:{a},b:'{n}.0',c:!t))", "({a}:{b},{c}:!({n},{d}))", "{a}>={n},{b}!={c}", "-{a} +{b} \"{c}\"",
    "{a}.{b}.{c}:asc,{b}:desc", "{n}::{d}::0::{n}::{d}", "{n},{d},{n},{d},0,0,0,{n}", "{a}=0::{n}::{d}&{b}=0::0", "jQuery{n}{n}_{n}", "{a}({n},'{b}')", "*", "|", "{{}}", "[]", "{{\"{a}\":{{\"{b}\":[{n},{d}]}}}}", "{a}|{b}|{c}", "{a};{b};{c}", "#{a}", "@{a} {b}", "$.{a}[?(@.{b}=={n})].{c}", "//{a}/{b}[@{c}='{d}']", "0 {d} * * 1-5", "{a} AND NOT {b}", "({n}, {d})", "{n}<{a}<{n}", "{a} ~ /{b}.*/", "c1ccccc1{d}C(=O)O", "{a}%", "{n}%-{d}%", "{a}/{b}/**/*.{c}", "~/{a}/{b}", "../{a}/{b}.png", "./{a}", "C:\\Users\\{a}\\{b}.docx", "/usr/share/{a}/{b}", "\\\\server\\{a}", "{a}'s {b}", "\"{a}\" {b}", "'{a}' {b}", "`{a}`", "a = {n}; b = {d}", "{a}--{b}", "{a} -- {b}", "{n} OR {d}", "{a} and {n}", "select {a} from the {b}", "union of {a} and {b}", "{a} # {b}", "<{a}@example.com>", "{a} <{b}@example.com>", "&{a};", "50% {a} & {b}", "{{{{{a}}}}}", "Dear {{{{ first_name }}}}, {a}", "${{{a}}}", "%{a}%", "[{a}]({b})", "{a}\t{b}\t{n}\r\n{c}\t{d}\t{n}", "{n}/{d}/2026", "{a}(s)", "*({a})*", "{a}?!", "{a} => {b}", "{a} -> {b}", "{a} != {b}", "if {a} then {b} else {c}", "x*{n}+{d}", "exec {a}", "drop {a} in {b}", "sleep({n})ing", "system: {a}", "cat {a}", "ping {a}", "curl {a}", "time {a}", "top {a}", "who {a}", "file {a}.txt", "more {a}", "/{a} {b}", "echo {a}", "java.util.{a}", "alert: {a}", "script for {a}", "<3 {a}", "> {a}", "< {n} {a}",
]


class Honest:
    """What people and programs send, odd as it may look."""

    def __init__(self, rng):
        self.r = rng

    def fill(self, form):
        r = self.r
        parts = {key: r.choice(r.choice((NAMES, PROSE))) for key in "abc"}
        return form.format(**parts, d=r.randint(0, 9), n=r.randint(1, 10 ** r.randint(1, 5)))

    def prose(self, low=2, high=30):
        r = self.r
        words = [r.choice(PROSE) for _ in range(r.randint(low, high))]
        for _ in range(len(words) // 6):
            at = r.randrange(len(words))
            words[at] += r.choice([",", ".", ";", ":", "!", "?", " -", " \u2013", "...", "'s", "n't", " &", "/" + r.choice(PROSE), " (" + r.choice(PROSE) + ")", ' "' + r.choice(PROSE) + '"', " 'n'", "="])
        text = " ".join(words)
        return text[:1].upper() + text[1:] if r.random() < 0.6 else text

    def foreign(self):
        r = self.r
        letters = r.choice(SCRIPTS)[1]
        return r.choice((" ", "", " - ", "、")).join("".join(r.choice(letters) for _ in range(r.randint(1, 9))) for _ in range(r.randint(1, 8)))

    def blob(self):
        r = self.r
        n = r.randint(3, r.choice((16, 60, 300)))
        data = bytes(r.randrange(256) for _ in range(n))
        return r.choice([lambda: base64.b64encode(data).decode(), lambda: base64.urlsafe_b64encode(data).decode().rstrip("="), lambda: data.hex(), lambda: data.hex().upper(), lambda: base64.b32encode(data).decode(), lambda: "".join(r.choice("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~*!") for _ in range(n)), lambda: ".".join(base64.urlsafe_b64encode(bytes(r.randrange(256) for _ in range(k))).decode().rstrip("=") for k in (27, n, 32)), lambda: base64.b64encode(self.prose().encode()).decode(), lambda: base64.b64encode(json.dumps(self.document(2)).encode()).decode(), lambda: "~".join(str(r.randrange(10**9)) for _ in range(6)), lambda: ":".join(f"{b:02x}" for b in data[:16])])()

    def number(self):
        r = self.r
        return r.choice([lambda: str(r.randint(-999, 10 ** r.randint(1, 13))), lambda: f"{r.uniform(-1000, 1000):.{r.randint(1, 12)}f}", lambda: f"{r.randint(1, 9)}e{r.randint(-9, 20)}", lambda: f"{r.randint(1, 999)},{r.randint(0, 99):02}", lambda: f"{r.randint(0, 255)}.{r.randint(0, 255)}.{r.randint(0, 255)}.{r.randint(0, 255)}", lambda: f"+{r.randint(1, 99)} {r.randint(100, 999)} {r.randint(1000, 99999)}", lambda: ",".join(str(r.randint(0, 999)) for _ in range(r.randint(2, 30))), lambda: f"{r.randint(1, 28)}-{r.randint(1, 12)}-{r.randint(1960, 2030)}", lambda: f"0x{r.randrange(1 << 32):x}", lambda: f"{r.randint(0, 23)}:{r.randint(10, 59)}"])()

    def address(self):
        r = self.r
        return f"{r.choice(('https', 'http', 'https', 'mailto:x', 'app', 'tel', 'android-app', 'file')) }://{r.choice(NAMES)}{r.choice(('.example.com', '.example.org', '.test', '.example.net:8443', '.local', ''))}/{'/'.join(r.choice(NAMES) for _ in range(r.randint(0, 4)))}{r.choice(('', '/', '.html', f'?{r.choice(NAMES)}={self.number()}&{r.choice(NAMES)}={urllib.parse.quote(self.prose(1, 4))}', '#' + r.choice(NAMES)))}"

    def value(self):
        r = self.r
        return r.choice([lambda: self.prose(1, 6), self.prose, self.foreign, self.blob, self.blob, self.number, self.number, self.address, lambda: self.fill(r.choice(QUERIES)), lambda: self.fill(r.choice(QUERIES)), lambda: self.fill(r.choice(QUERIES)), lambda: r.choice(NAMES), lambda: r.choice(NAMES), lambda: json.dumps(self.document(1), separators=r.choice(((",", ":"), (", ", ": ")))), lambda: "", lambda: f"{r.choice(NAMES)}.{r.choice(('js', 'pdf', 'jpg', 'xml', 'jsp', 'php', 'cgi', 'tar.gz', 'exe', 'config', 'bak'))}"])()

    def long(self):
        """What is written in a text box."""
        r = self.r
        return r.choice([lambda: self.prose(20, 150), lambda: self.foreign() + " " + self.foreign(), lambda: f"{self.prose()}\n\n```\n{self.code()}\n```\n\n{self.prose()}", lambda: f"<p>{self.prose()}</p><pre><code>{self.code().replace('<', '&lt;')}</code></pre><p>{self.prose()}</p>", self.html, lambda: self.prose() + " " + self.code() + " " + self.prose(), lambda: f"> {self.prose()}\n\n{self.prose()}\n\n[{r.choice(NAMES)}]({self.address()})", lambda: "\r\n".join(self.prose(3, 12) for _ in range(r.randint(2, 8)))])()

    def code(self):
        r = self.r
        return r.choice(("\n", "\n", "\n\n", " ")).join(self.fill(r.choice(CODE)) for _ in range(r.randint(1, 4)))

    def html(self):
        r = self.r
        out = ""
        for _ in range(r.randint(1, 6)):
            tag = r.choice("p div span h2 h3 li td blockquote strong em a b i u figure section".split())
            extra = r.choice(["", "", "", f' class="{r.choice(NAMES)} {r.choice(NAMES)}"', f' style="color: #{r.randrange(1 << 24):06x}; margin-left: {r.randint(1, 40)}px;"', f' id="{r.choice(NAMES)}"', f' data-{r.choice(NAMES)}="{r.randint(1, 999)}"', ' dir="ltr"', f' title="{self.prose(1, 3)}"'])
            out += f"<{tag}{extra}>{self.prose(2, 15)}" + r.choice(["", "<br>", "<br />", "&nbsp;", f'<img src="/media/{r.choice(NAMES)}.jpg" alt="{r.choice(NAMES)}" width="{r.randint(9, 900)}">', f'<a href="{self.address()}">{r.choice(NAMES)}</a>', "<hr>", f"<table><tr><td>{self.number()}</td></tr></table>", '<iframe width="560" height="315" src="https://video.example/embed/x" allowfullscreen></iframe>' if r.random() < 0.3 else ""]) + f"</{tag}>" + r.choice(("", "\n", "\r\n"))
        return out

    def document(self, depth=0):
        r = self.r
        def leaf():
            return r.choice([self.value, self.value, self.long if r.random() < 0.3 else self.value, lambda: r.randint(-5, 10**9), lambda: r.random(), lambda: None, lambda: True, lambda: False])()
        def node(level):
            pick = r.random()
            if level < 3 and pick < 0.25:
                return {self.key(): node(level + 1) for _ in range(r.randint(0, 5))}
            if level < 3 and pick < 0.4:
                return [node(level + 1) for _ in range(r.randint(0, 4))]
            return leaf()
        return {self.key(): node(depth) for _ in range(r.randint(1, 7))} if r.random() < 0.9 else [node(depth) for _ in range(r.randint(1, 4))]

    def key(self):
        r = self.r
        a, b = r.choice(NAMES), r.choice(NAMES)
        return r.choice([a, a, a, f"{a}_{b}", f"{a}{b.title()}", f"{a}-{b}", f"{a}.{b}", f"{a}[{b}]", f"{a}[]", f"{a}[0][{b}]", f"@{a}", f"{a}:{b}", f"{a}${b}", f"_{a}", f"{a.upper()}", f"ctl00${a}${b}", f"{a}__{b}", f"${a}", f"{a}/{b}", f"{a} {b}" if r.random() < 0.2 else a, f"edit-{a}", f"wp_{a}", f"{a}({b})" if r.random() < 0.1 else a])

    def xml(self):
        r = self.r
        def node(level):
            tag = r.choice(NAMES)
            if level < 3 and r.random() < 0.6:
                return f"<{tag}>" + "".join(node(level + 1) for _ in range(r.randint(1, 4))) + f"</{tag}>"
            text = self.value().replace("&", "&amp;").replace("<", "&lt;")
            return f'<{tag} {r.choice(NAMES)}="{r.choice(NAMES)}">{text}</{tag}>' if r.random() < 0.3 else f"<{tag}>{text}</{tag}>"
        head = r.choice(['<?xml version="1.0"?>', '<?xml version="1.0" encoding="utf-8"?>\r\n', "", "<?xml version='1.0'?>\n"])
        return head + r.choice(["{}", '<D:propfind xmlns:D="DAV:"><D:prop>{}</D:prop></D:propfind>', '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Header/><s:Body>{}</s:Body></s:Envelope>', '<methodCall><methodName>a.b</methodName><params><param><value>{}</value></param></params></methodCall>', '<feed xmlns="http://www.w3.org/2005/Atom">{}</feed>', '<html><head><title>x</title></head><body>{}</body></html>']).format(node(0))

    def path(self):
        r = self.r
        piece = lambda: r.choice([lambda: r.choice(NAMES), lambda: r.choice(NAMES), lambda: f"{r.choice(NAMES)}-{r.choice(PROSE)}-{r.randint(1, 99)}", lambda: str(r.randint(1, 10**6)), lambda: f"{r.choice(NAMES)}_{r.choice(NAMES)}", lambda: urllib.parse.quote(self.foreign()[:20], safe=""), lambda: urllib.parse.quote(self.prose(1, 4)), lambda: "".join(r.choice("0123456789abcdef") for _ in range(r.choice((8, 32, 40)))), lambda: f"v{r.randint(1, 4)}", lambda: f"@{r.choice(NAMES)}", lambda: f"~{r.choice(NAMES)}", lambda: f"{r.choice(NAMES)};jsessionid={r.randrange(1 << 60):x}", lambda: f"{r.choice(NAMES)}({r.randint(1, 99)})", lambda: f"{r.choice(NAMES)}:{r.choice(NAMES)}", lambda: f"{r.choice(NAMES)},{r.choice(NAMES)}", lambda: f"+{r.choice(NAMES)}", lambda: f"{r.choice(NAMES)}'{r.choice(('', 's'))}" if r.random() < 0.3 else "x", lambda: f".well-known/{r.choice(NAMES)}"])()
        tail = r.choice(["", "", "/", ".html", ".php", ".js", ".css", ".png", ".json", ".aspx", ".jsp", ".do", ".woff2", ".min.js", f".{r.randrange(1 << 32):08x}.chunk.js", ".xml", ".txt", ".cgi", ".svg", "/index.php", ".m3u8", "/config", "/admin", "/login", "/download", "/export.csv"])
        return "/" + "/".join(piece() for _ in range(r.randint(0, 5))) + tail


def place(rng, honest, kind, payload):
    """One malicious request: the payload in one field, honest values in the others."""
    quote = lambda text: urllib.parse.quote(text.encode("utf-8", "surrogateescape"), safe=rng.choice(("", "", "/", "/:;,()*'", "!~*'()/:@$,;")))
    head, key = recipes.headers(), rng.choice((honest.key(), rng.choice(NAMES)))
    value = wrapped(rng, payload)
    if rng.random() < 0.12:
        value = f"{honest.prose(1, 5)} {value}" if rng.random() < 0.5 else f"{value} {honest.prose(1, 4)}"
    others = "".join(f"{quote(honest.key())}={quote(honest.value())}&" for _ in range(rng.choice((0, 0, 0, 1, 2, 4))))
    where = rng.random()
    if kind == "xxe" and where < 0.75:
        return recipes.raw("POST", honest.path(), head, rng.choice(("application/xml", "text/xml", "application/soap+xml", "image/svg+xml")), payload.encode())
    if kind == "scanner" and payload.startswith("/"):
        return recipes.raw("GET", payload.replace(" ", "%20"), head)
    if where < 0.36:
        return recipes.raw("GET", f"{honest.path()}?{others}{key}={quote(value)}", head)
    if where < 0.52:
        return recipes.raw("POST", honest.path(), head, "application/x-www-form-urlencoded", f"{others}{quote(key)}={quote(value)}".encode())
    if where < 0.66:
        document = honest.document()
        (document if isinstance(document, dict) else document.append({}) or document[-1])[key] = value
        return recipes.raw(rng.choice(("POST", "PUT")), honest.path(), head, "application/json", json.dumps(document, ensure_ascii=rng.random() < 0.5).encode("utf-8", "replace"))
    if where < 0.72:
        boundary = "x" + str(rng.randrange(10**15))
        part = f'--{boundary}\r\nContent-Disposition: form-data; name="{rng.choice(NAMES)}"' + (f'; filename="{value if rng.random() < 0.4 and chr(10) not in value else rng.choice(NAMES) + ".txt"}"\r\nContent-Type: text/plain' if rng.random() < 0.4 else "") + f"\r\n\r\n{value}\r\n--{boundary}--\r\n"
        return recipes.raw("POST", honest.path(), head, f"multipart/form-data; boundary={boundary}", part.encode("utf-8", "replace"))
    if where < 0.84 and not set("\r\n\0") & set(value) and value.isascii():
        name = rng.choice(("User-Agent", "Referer", "Cookie", "X-Forwarded-For", "X-Forwarded-Host", "X-Api-Key", "Accept-Language", "Origin", "Authorization", "X-Requested-With", "Accept", "Content-Type", "If-Match", "X-" + rng.choice(NAMES).title()))
        shown = f"{rng.choice(NAMES)}={quote(value)}" if name == "Cookie" else value if name != "Referer" or rng.random() < 0.5 else f"https://site.example/?{rng.choice(NAMES)}={quote(value)}"
        return recipes.raw("GET", honest.path(), [pair for pair in head if pair[0] != name] + [(name, shown)])
    if where < 0.88:
        return recipes.raw("GET", f"{honest.path()}?{others}{quote(value)}={rng.choice(NAMES)}", head)
    if where < 0.94 and kind in ("traversal", "xss", "sqli", "rce", "ssti", "rfi", "redirect"):
        return recipes.raw("GET", f"{honest.path()}/{quote(value)}", head)
    if where < 0.97:
        return recipes.raw("POST", honest.path(), head, "text/xml", f"<{key}><{rng.choice(NAMES)}>{value.replace('<', '&lt;') if rng.random() < 0.7 else value}</{rng.choice(NAMES)}></{key}>".encode("utf-8", "replace"))
    return recipes.raw("POST", honest.path(), head, rng.choice(("text/plain", "application/octet-stream", "application/graphql")), value.encode("utf-8", "replace"))


def benign(rng, honest):
    quote = lambda text: urllib.parse.quote_plus(text, safe=rng.choice(("", "/", "/:;,()*'", "!~*'()/:@$,;[]{}|")))
    head, pick = recipes.headers(), rng.random()
    pairs = lambda high: "&".join(f"{quote(honest.key())}={quote(honest.value())}" for _ in range(rng.randint(0, high)))
    if pick < 0.4:
        query = pairs(8)
        return recipes.raw("GET", honest.path() + ("?" + query if query else ""), head)
    if pick < 0.58:
        text = f"&{rng.choice(NAMES)}={quote(honest.long())}" if rng.random() < 0.5 else ""
        return recipes.raw("POST", honest.path(), head, "application/x-www-form-urlencoded", (pairs(10) + text).encode())
    if pick < 0.8:
        return recipes.raw(rng.choice(("POST", "PUT", "PATCH")), honest.path(), head, rng.choice(("application/json", "application/json;charset=UTF-8", "text/plain", "application/csp-report", "application/x-ndjson")), json.dumps(honest.document(), ensure_ascii=rng.random() < 0.5).encode())
    if pick < 0.86:
        return recipes.raw(rng.choice(("POST", "PROPFIND", "REPORT", "PUT")), honest.path(), head, rng.choice(("text/xml", "application/xml; charset=utf-8", "application/soap+xml")), honest.xml().encode())
    if pick < 0.92:
        boundary = "----" + str(rng.randrange(10**15))
        body = "".join(f'--{boundary}\r\nContent-Disposition: form-data; name="{honest.key()}"' + (f'; filename="{honest.prose(1, 4)}.{rng.choice(("txt", "csv", "html", "md", "py", "sql", "log", "json"))}"\r\nContent-Type: text/plain' if rng.random() < 0.3 else "") + f"\r\n\r\n{rng.choice((honest.value, honest.long))()}\r\n" for _ in range(rng.randint(1, 6)))
        return recipes.raw("POST", honest.path(), head, f"multipart/form-data; boundary={boundary}", (body + f"--{boundary}--\r\n").encode())
    if pick < 0.95:
        cookies = "; ".join(f"{rng.choice(NAMES)}{rng.choice(('', '_' + rng.choice(NAMES)))}={urllib.parse.quote(honest.value(), safe=rng.choice(('', '/:|*!~@,{}()')))}" for _ in range(rng.randint(1, 12)))
        return recipes.raw("GET", honest.path(), [pair for pair in head if pair[0] != "Cookie"] + [("Cookie", cookies)])
    if pick < 0.98:
        extra = [(f"X-{rng.choice(NAMES).title()}-{rng.choice(NAMES).title()}", value) for value in (honest.value() for _ in range(rng.randint(1, 4))) if value and value.isascii() and not set(value) & set("\r\n")]
        return recipes.raw("GET", honest.path(), head + extra)
    return recipes.raw("POST", honest.path(), head, rng.choice(("text/plain", "text/csv", "text/markdown")), honest.long().encode())


def main():
    benign_count, malicious_count, seed = (int(text) for text in sys.argv[1:4])
    rng = random.Random(seed)
    recipes.R = rng
    honest, attacks = Honest(rng), Attacks(rng)
    for number in range(benign_count + malicious_count):
        kind, label = None, "benign"
        if number < benign_count:
            raw = benign(rng, honest)
        else:
            kind, payload = attacks.one()
            raw, label = place(rng, honest, kind, payload), "malicious"
        row = {"id": f"grammar-{number}", "label": label, "class": kind, "source": "grammar", "kind": "request", "raw": base64.b64encode(raw).decode()}
        print(json.dumps(row))


if __name__ == "__main__":
    main()
