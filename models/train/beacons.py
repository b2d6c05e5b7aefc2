"""Generated requests of the programs that pages load: analytics, advertising, consent, error reports. Much of what a browser
sends is theirs, in forms of their own: addresses inside parameters inside parameters, JSON and base64 in the query, binary
tokens with runs of zeros, lists joined by whatever sign was free.

Enters: the recipes' texts. Leaves: honest requests. Written from what such protocols are publicly documented to send; nothing is
copied from a recording. Like all recipes they train, and no threshold and no figure rests on them.
"""

import base64
import json
import string
import struct
import sys
import urllib.parse

from recipes import R, NOUN, VERB, agent, b64, cookie, hexa, jwt, path, raw, sentence, token, url, uuid, words


def quoted(text, safe=""):
    return urllib.parse.quote(str(text), safe=safe)


def packed():
    """Bytes of a binary structure: numbers, mostly small, so most of their bytes are zero or all ones."""
    parts = []
    for _ in range(R.randint(3, 16)):
        number = R.choice([0, 0, -1, 1, R.randint(0, 255), R.randint(0, 2**15 - 1)])
        parts.append(struct.pack(R.choice("<>") + R.choice("hiq"), number))
        if R.random() < 0.2:
            parts.append(R.choice(NOUN).encode())
        if R.random() < 0.3:
            parts.append(R.randbytes(R.randint(2, 12)))
    return b"".join(parts)


def blob():
    """A token as services make them: base64 of either alphabet, hexadecimal or numbers, often several joined by a sign."""
    one = lambda: R.choice([
        lambda: base64.b64encode(packed()).decode(), lambda: base64.urlsafe_b64encode(packed()).decode().rstrip("="), lambda: base64.urlsafe_b64encode(R.randbytes(R.randint(8, 90))).decode().rstrip("="),
        lambda: b64(R.randint(8, 60)), lambda: hexa(R.choice((16, 32, 40, 64))), lambda: str(R.randint(-2**31, 2**31)), lambda: token(R.randint(5, 24)), uuid,
        lambda: base64.b64encode(json.dumps({R.choice(NOUN): R.choice([R.randint(0, 10**6), words(2), None, True]) for _ in range(R.randint(1, 5))}).encode()).decode(),
    ])()
    sign = R.choice("|.:~-_,*;!$")
    return sign.join(one() for _ in range(R.choice((1, 1, 1, 2, 2, 3, 5))))


def noise():
    """What remains of a measurement that a script packs by itself: printable signs without any words."""
    return "".join(R.choice(string.ascii_letters + string.digits + "!#$%&()*+,-./:;<=>?@[]^_`{|}~") for _ in range(R.randint(8, 160)))


def targeting():
    """Keys and values of an advert's place, joined as a query inside a query, or by other signs."""
    joined, equals = R.choice((("&", "="), ("&", "="), (";", "="), ("|", ":"), (",", ":"), ("~", "~")))
    value = lambda: R.choice([lambda: R.choice(NOUN), lambda: ",".join(R.choice(NOUN) for _ in range(R.randint(2, 6))), lambda: str(R.randint(0, 9999)), blob, lambda: words(2), lambda: "", lambda: f"/{R.choice(NOUN)}/{R.choice(NOUN)}"])()
    return joined.join(f"{R.choice(NOUN)}{R.choice(('', '_id', 's', str(R.randint(1, 9))))}{equals}{value()}" for _ in range(R.randint(2, 14)))


def sizes():
    return R.choice(("|", ",", ";")).join(f"{R.choice((1, 88, 160, 300, 320, 728, 970))}x{R.choice((1, 50, 90, 250, 600))}" for _ in range(R.randint(1, 5)))


def nested(depth=0):
    inner = url() if depth > 1 or R.random() < 0.5 else nested(depth + 1)
    return f"https://{R.choice(('ads', 'track', 'click', 'sync', 'px'))}.{R.choice(NOUN)}.example/{R.choice(('c', 'r', 'click', 'redir', 'match'))}?{R.choice(('u', 'url', 'r', 'redir', 'adurl', 'dest'))}={quoted(inner)}&{token(3).lower()}={blob()}"


def measured():
    return {R.choice(("ev", "t", "en", "type")): R.choice(("PageView", "click", "Microdata", "scroll", "timing", "view_item")), "v": f"{R.randint(0, 9)}.{R.randint(0, 99)}", "ts": R.randint(10**12, 2 * 10**12), "dl": url(), "rl": R.choice(("", url())), "dt": sentence(), "sr": f"{R.randint(320, 2560)}x{R.randint(480, 1440)}", "sd": "24-bit", "ul": R.choice(("en-us", "de", "fr-fr")), "je": 0, "z": R.randint(1, 2**31), "cid": f"{R.randint(1, 2**31)}.{R.randint(10**9, 2 * 10**9)}"}


VALUES = {
    "address": url, "nested": nested, "blob": blob, "blobs": blob, "targeting": targeting, "noise": noise, "sizes": sizes, "title": sentence, "id": lambda: R.choice([uuid(), hexa(32), str(R.randint(1, 10**15))]), "jwt": jwt,
    "json": lambda: json.dumps(R.choice([measured(), [measured()], {"meta": measured(), "items": [R.choice(NOUN), None, {"n": R.random()}]}, [[R.choice(NOUN), R.randint(0, 9)] for _ in range(R.randint(1, 6))]]), separators=R.choice(((",", ":"), (", ", ": ")))),
    "number": lambda: R.choice([str(R.randint(-1, 10**6)), f"{R.uniform(-1, 999):.{R.randint(0, 12)}f}", f"-{R.randint(1, 99)}", "NaN", "undefined", "null", "true", "1e+3"]),
    "list": lambda: R.choice((",", "|", ";", "!", "~", "^", ".")).join(str(R.choice([R.randint(0, 9999), R.choice(NOUN), ""])) for _ in range(R.randint(2, 24))), "agent": agent, "date": lambda: R.choice(("2026-05-19T10:11:12.345Z", "Tue May 19 2026 10:11:12 GMT+0200 (Central European Summer Time)", "19/05/2026, 10:11:12")),
    "selector": lambda: R.choice((f"div#{R.choice(NOUN)} > ul.{R.choice(NOUN)}:nth-child({R.randint(1, 9)}) a[href=\"/{R.choice(NOUN)}\"]", f"html>body.{R.choice(NOUN)}>main#root>section:eq({R.randint(0, 9)})>button.btn.btn-primary", f"//*[@id=\"{R.choice(NOUN)}\"]/div[{R.randint(1, 9)}]/span")), "fonts": lambda: f"{R.choice(NOUN).title()}+Sans:{R.choice(('400,700', 'ital,wght@0,400;0,700;1,400', '300italic,400'))}|{R.choice(NOUN).title()}:wght@400&display=swap",
    "files": lambda: ",".join(f"{R.choice(NOUN)}/{R.choice(VERB)}.{R.choice(('js', 'css'))}" for _ in range(R.randint(2, 9))), "template": lambda: R.choice(("${CACHEBUSTER}", "[timestamp]", "%%CACHEBUSTER%%", "{random}", "__RANDOM__", "${GDPR_CONSENT_755}", "$UID", "[%RANDOM%]")),
}


def value():
    return R.choice(list(VALUES.values()))()


def key():
    return R.choice([lambda: token(R.randint(1, 4)).lower(), lambda: R.choice(NOUN), lambda: f"{R.choice(NOUN)}_{R.choice(NOUN)}", lambda: f"{R.choice(('cd', 'ep', 'up', 'ud', 'epn', 'p'))}{R.choice(('', '.', '['))}{R.choice(NOUN)}", lambda: f"_{token(2)}"])().replace("[", "%5B")


def query(n):
    safe = R.choice(("", "", "/:,", "/:,;@!$'()*~?|[]"))
    return R.choice(("&", "&", "&", "&", ";")).join(f"{key()}={quoted(value(), safe)}" for _ in range(n))


def program():
    """The path of a program, as older servers show them: which language it is in says nothing."""
    folder = lambda: R.choice([lambda: R.choice(NOUN), lambda: R.choice(VERB), lambda: token(R.randint(1, 5)).lower(), lambda: f"{R.choice(NOUN)}{R.randint(1, 9)}", lambda: R.choice(NOUN).title(), lambda: R.choice(("cgi-bin", "api", "w", "wp-content", "plugins", "modules", "ajax", "includes", "examples"))])()
    name = R.choice([folder, lambda: f"{R.choice(VERB)}_{R.choice(NOUN)}", lambda: f"{R.choice(VERB)}{R.choice(NOUN).title()}", lambda: f"{R.choice(NOUN)}-{R.choice(NOUN)}"])()
    ending = R.choice(("php", "php", "php", "aspx", "ashx", "asp", "jsp", "do", "action", "cgi", "pl", "cfm", "dll", "xml", "txt", "asmx", "jspx", "php5", "py", "json", "html"))
    return "/" + "".join(f"{folder()}/" for _ in range(R.randint(0, 3))) + f"{name}.{ending}"


def cookies():
    made = lambda: f"{R.choice(('_', '__', ''))}{token(R.randint(2, 8))}{R.choice(('', '_id', '.pd', '_ses', '-sync'))}={R.choice([blob(), blob(), quoted(value()), value().replace(';', '|').replace(chr(34), chr(39)) if R.random() < 0.3 else quoted(targeting(), '=:')])}"
    return "; ".join(R.choice((made, made, cookie))() for _ in range(R.randint(1, 9)))


def beacon():
    head = [("Host", "site.example"), ("User-Agent", agent()), ("Accept", R.choice(("*/*", "image/avif,image/webp,*/*;q=0.8"))), ("Accept-Language", "en-US,en;q=0.9")]
    if R.random() < 0.85:
        head.append(("Referer", R.choice([url, url, nested, lambda: f"{url().split('?')[0]}?{query(R.randint(1, 9))}"])()))
    if R.random() < 0.7:
        head.append(("Cookie", cookies().encode("ascii", "replace").decode().replace("\n", " ").replace("\r", " ")))
    place = R.choice([lambda: f"/{R.choice(('collect', 'pixel.gif', 'b/ss', 'tr/', 'imp', 'activity', 'pagead/ads', 'sync', 'beacon', 'i', 'cm', 'usersync', 'log', 'rgba', 'combo', 'css'))}", lambda: f"/{token(3)}/{blob()[:60]}/{R.choice(NOUN)}.gif", path, program, program, lambda: f"/{R.choice(('ddm/activity', 'adj', 'N' + str(R.randint(10, 9999)) + '.' + R.choice(NOUN)))}/{';'.join(f'{key()}={quoted(value())}' for _ in range(R.randint(2, 9)))}"])()
    pick = R.random()
    if pick < 0.75:
        return raw("GET", f"{place}?{query(R.randint(1, 24))}", head)
    if pick < 0.8:
        return raw("GET", f"{place}?{quoted(value(), '/:=&|,;')}", head)
    if pick < 0.9:
        items = [{key(): R.choice([value, measured, lambda: R.randint(0, 10**9), lambda: [value()]])() for _ in range(R.randint(1, 8))} for _ in range(R.randint(1, 4))]
        return raw("POST", f"{place}?{query(R.randint(0, 3))}", head, R.choice(("application/json", "text/plain;charset=UTF-8")), json.dumps(R.choice((items, items[0]))).encode())
    if pick < 0.95:
        return raw("POST", place, head, "application/x-www-form-urlencoded", query(R.randint(1, 9)).encode())
    lines = "\n".join(json.dumps({key(): value() for _ in range(R.randint(1, 5))}) for _ in range(R.randint(2, 5)))
    return raw("POST", place, head, R.choice(("text/plain;charset=UTF-8", "application/x-sentry-envelope")), lines.encode())


def main():
    for number in range(int(sys.argv[1])):
        row = {"id": f"beacon-{number}", "label": "benign", "class": None, "source": "beacons", "license": "Apache-2.0 OR MIT", "kind": "request", "raw": base64.b64encode(beacon()).decode()}
        print(json.dumps(row))


if __name__ == "__main__":
    main()
