"""Applications from PyPI and Debian that speak HTTP: administration pages, a content manager, data browsers, notebooks,
calendars, object stores, package indices, metrics, repositories."""

import base64
import json
import os
import shutil
import sqlite3
import subprocess
import urllib.parse

from apps import PASSWORD, USER, App, python, quiet


def q(text):
    return urllib.parse.quote_plus(text)


def empty(site):
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir(parents=True)
    return site


def django_site(work, name, settings, urls=""):
    site = empty(work / f"site-{name}")
    quiet(python(work), "-m", "django", "startproject", "lab", ".", cwd=site)
    with open(site / "lab/settings.py", "a") as out:
        out.write("\nALLOWED_HOSTS = ['*']\nDATABASES['default']['OPTIONS']={'timeout':20}\n" + settings)
    if urls:
        (site / "lab/urls.py").write_text(urls)
    return site


def django_ready(work, site):
    quiet(python(work), "manage.py", "migrate", cwd=site)
    quiet(python(work), "manage.py", "createsuperuser", "--noinput", "--username", USER, "--email", "alice@example.org", cwd=site, env={**os.environ, "DJANGO_SUPERUSER_PASSWORD": PASSWORD})


def django(work, port, _):
    site = django_site(work, "django", "INSTALLED_APPS += ['django.contrib.flatpages', 'django.contrib.sites', 'django.contrib.redirects']\nSITE_ID = 1\n")
    django_ready(work, site)
    return [python(work), "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"], site


def admin_enter(path):
    def enter(p):
        p.go(path)
        for form in p.forms()[:1]:
            p.submit(form, {"username": USER, "password": PASSWORD})

    return enter


def django_call(p):
    w, r = p.words, p.rng

    def add(path, given):
        p.go(path)
        for form in [form for form in p.forms() if (form.get("id") or "").endswith("_form") or "post" == form.get("method")][-1:]:
            p.submit(form, given)

    password = w.password()
    r.choice([
        lambda: add("/admin/flatpages/flatpage/add/", {"url": f"/{w.word()}/{r.randint(1, 9999)}/", "title": w.short(), "content": r.choice([w.rich, w.markdown, w.long])()}), lambda: add("/admin/auth/user/add/", {"username": w.name().replace(" ", ".") + str(r.randint(1, 999)), "password1": password, "password2": password}),
        lambda: p.go(f"/admin/auth/user/?q={q(w.query())}&is_staff__exact=1&date_joined__gte=2026-01-01+00%3A00%3A00%2B00%3A00&o=-2.1"), lambda: add("/admin/auth/group/add/", {"name": w.short()}), lambda: add("/admin/redirects/redirect/add/", {"old_path": "/" + w.word(), "new_path": w.url()}), lambda: add("/admin/auth/user/1/change/", {"first_name": w.name(), "last_name": w.name(), "email": w.email()}),
        lambda: p.ajax("GET", f"/admin/auth/user/autocomplete/?term={q(w.query())}&app_label=auth&model_name=user&field_name=groups"), lambda: p.go(f"/admin/flatpages/flatpage/?q={q(w.query())}&_changelist_filters=q%3D{q(q(w.word()))}"),
    ])()


def wagtail(work, port, _):
    site = empty(work / "site-wagtail")
    quiet(work / "venv/bin/wagtail", "start", "lab", ".", cwd=site)
    with open(site / "lab/settings/dev.py", "a") as out:
        out.write("\nALLOWED_HOSTS = ['*']\n")
    django_ready(work, site)
    return [python(work), "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"], site


def draft(w):
    """Draftail's JSON of a rich text."""
    return json.dumps({"blocks": [{"key": w.token(5), "text": w.prose()[:600], "type": w.rng.choice(("unstyled", "header-two", "blockquote", "code-block")), "depth": 0, "inlineStyleRanges": [{"offset": 0, "length": 5, "style": "BOLD"}], "entityRanges": []} for _ in range(3)], "entityMap": {"0": {"type": "LINK", "mutability": "MUTABLE", "data": {"url": w.url()}}}}, ensure_ascii=False)


def wagtail_call(p):
    w, r = p.words, p.rng

    def add(path, given):
        p.go(path)
        for form in [form for form in p.forms() if (form.get("method") or "").lower() == "post"][-1:]:
            p.submit(form, given)

    r.choice([
        lambda: add("/admin/pages/add/home/homepage/3/", {"title": w.short(), "slug": w.word().lower(), "seo_title": w.phrase(), "search_description": w.prose()[:300], "body": draft(w)}), lambda: p.go(f"/admin/pages/search/?q={q(w.query())}&ordering=-title"), lambda: p.go(f"/search/?query={q(w.query())}&page=1"), lambda: p.ajax("POST", "/admin/images/multiple/add/", {"title": w.short(), "files[]": w.file()}, "file"),
        lambda: p.ajax("POST", "/admin/documents/multiple/add/", {"title": w.short(), "files[]": w.file()}, "file"), lambda: p.go(f"/admin/images/?q={q(w.query())}&collection_id=1&tag={q(w.word())}"), lambda: add("/admin/redirects/add/", {"old_path": "/" + w.word(), "redirect_link": w.url()}), lambda: add("/admin/users/add/", {"username": w.word(), "email": w.email(), "first_name": w.name(), "last_name": w.name(), "password1": "x9-" + w.token(8)}), lambda: p.ajax("GET", f"/admin/choose-page/search/?q={q(w.query())}&page_type=wagtailcore.page&allow_external_link=true"), lambda: add("/admin/collections/add/", {"name": w.short()}), lambda: add("/admin/workflows/tasks/new/wagtailcore/groupapprovaltask/", {"name": w.short()}), lambda: p.go(f"/admin/reports/site-history/?label={q(w.query())}&timestamp_from=&action="),
    ])()


def datasette(work, port, _):
    site = empty(work / "site-datasette")
    with sqlite3.connect(site / "shop.db") as base:
        base.execute("create table product (id integer primary key, name text, price real, maker text, added text)")
        base.executemany("insert into product (name, price, maker, added) values (?, ?, ?, ?)", [(f"lamp {n}", n * 1.5, f"O'Brien & Co {n % 7}", f"2026-05-{n % 28 + 1:02}") for n in range(300)])
    return [work / "venv/bin/datasette", "serve", "shop.db", "-h", "127.0.0.1", "-p", port], site


def datasette_call(p):
    w, r = p.words, p.rng
    where = lambda: r.choice([f"name like '%{w.word()}%'", f"price > {r.randint(1, 99)} and price < {r.randint(100, 400)}", f"maker = '{w.word()}'", f"added between '2026-05-0{r.randint(1, 9)}' and '2026-05-28'", "id in (1, 2, 3)", "price is not null"])
    sql = lambda: r.choice([lambda: f"select {r.choice(('*', 'name, price', 'count(*)', 'maker, avg(price) as average'))} from product where {where()} {r.choice(('', 'order by price desc', 'group by maker', 'limit 20'))}", w.sql])()
    r.choice([
        lambda: p.go(f"/shop?sql={q(sql())}"), lambda: p.go(f"/shop?sql={q('select * from product where name like :name')}&name={q('%' + w.query() + '%')}"), lambda: p.ajax("GET", f"/shop.json?sql={q(sql())}&_shape=array"), lambda: p.go(f"/shop/product?_search={q(w.query())}&name__contains={q(w.word())}&_sort_desc=price"), lambda: p.go(f"/shop/product?_filter_column=maker&_filter_op=like&_filter_value={q('%' + w.name() + '%')}&_sort=id"),
        lambda: p.go(f"/shop/product?price__gt={r.randint(1, 99)}&maker__exact={q(w.name())}&_facet=maker&_facet_size=max"), lambda: p.ajax("GET", f"/shop/product.json?_where={q(where())}&_size=20&_json=maker"), lambda: p.go(f"/shop/product.csv?_stream=on&_where={q(where())}"),
    ])()


def isso(work, port, _):
    site = empty(work / "site-isso")
    (site / "isso.cfg").write_text(f"[general]\ndbpath = {site}/comments.db\nhost = http://127.0.0.1/\n http://localhost/\n[server]\nlisten = http://127.0.0.1:{port}\n[guard]\nenabled = false\n[admin]\nenabled = true\npassword = {PASSWORD}\n")
    return [work / "venv/bin/isso", "-c", "isso.cfg", "run"], site


def isso_call(p):
    w, r = p.words, p.rng
    page = urllib.parse.quote("/blog/" + w.word().lower() + "/", safe="")
    r.choice([
        lambda: p.ajax("POST", f"/new?uri={page}", {"author": r.choice([None, w.name()]), "email": r.choice([None, w.email()]), "website": r.choice([None, w.url()]), "text": r.choice([w.long, w.markdown])(), "parent": None, "title": w.short(), "notification": 0}), lambda: p.ajax("POST", "/preview", {"text": w.markdown()}), lambda: p.ajax("GET", f"/?uri={page}&after=0&nested_limit=5&limit=10&sort=upvotes"), lambda: p.ajax("POST", f"/id/{r.randint(1, 50)}/like", {}), lambda: p.ajax("POST", "/count", [f"/{w.word()}/" for _ in range(4)]), lambda: p.ajax("PUT", f"/id/{r.randint(1, 50)}", {"text": w.long(), "author": w.name(), "website": w.url()}),
    ])()


def radicale(work, port, _):
    site = empty(work / "site-radicale")
    return [work / "venv/bin/radicale", "--server-hosts", f"127.0.0.1:{port}", "--auth-type", "none", "--storage-filesystem-folder", str(site / "data"), "--web-type", "internal"], site


def dav_headers(p, agent, kind, extra=()):
    basic = base64.b64encode(f"{USER}:{p.words.password()}".encode()).decode()
    return [("User-Agent", agent), ("Accept", "*/*"), ("Content-Type", kind), ("Authorization", f"Basic {basic}"), ("Depth", p.rng.choice("01")), ("Prefer", "return-minimal"), ("Accept-Language", "en-us"), *extra]


def fold(text):
    return text.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,").replace("\n", "\\n")


def radicale_call(p):
    w, r = p.words, p.rng
    agent = r.choice(["iOS/17.5 (21F90) dataaccessd/1.0", "macOS/14.5 (23F79) CalendarAgent/1010", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.2.0", "DAVx5/4.4.1-ose (dav4jvm; okhttp/4.12.0) Android/14", "Evolution/3.46.4", "vdirsyncer/0.19.2"])
    uid, base = w.uuid().upper(), f"/{USER}/{r.choice(('work', 'home', 'contacts'))}"
    event = lambda: f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Mozilla.org/NONSGML Mozilla Calendar V1.1//EN\r\nBEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20261121T101500Z\r\nDTSTART;TZID=Europe/Berlin:20261201T{r.randint(10, 20)}0000\r\nSUMMARY:{fold(w.short())}\r\nDESCRIPTION:{fold(w.prose())}\r\nLOCATION:{fold(w.phrase())}\r\nORGANIZER;CN=\"{w.name()}\":mailto:{w.email()}\r\nATTENDEE;CN=\"{w.name()}\";PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:{w.email()}\r\nRRULE:FREQ=WEEKLY;BYDAY=MO,WE;COUNT={r.randint(2, 20)}\r\nURL:{w.url()}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    card = lambda: f"BEGIN:VCARD\r\nVERSION:3.0\r\nUID:{uid}\r\nFN:{fold(w.name())}\r\nEMAIL;TYPE=WORK:{w.email()}\r\nNOTE:{fold(w.prose())}\r\nTEL;TYPE=CELL:+49 {r.randint(100, 999)} {r.randint(10**5, 10**7)}\r\nEND:VCARD\r\n"
    send = lambda method, path, body, kind, *extra: p.send(method, path, body.encode("utf-8", "replace"), headers=dav_headers(p, agent, kind, extra))
    r.choice([
        lambda: send("PROPFIND", base + "/", '<?xml version="1.0" encoding="UTF-8"?><D:propfind xmlns:D="DAV:" xmlns:CS="http://calendarserver.org/ns/" xmlns:C="urn:ietf:params:xml:ns:caldav"><D:prop><D:resourcetype/><D:displayname/><CS:getctag/><C:supported-calendar-component-set/></D:prop></D:propfind>', "text/xml; charset=utf-8"),
        lambda: send("REPORT", base + "/", f'<?xml version="1.0" encoding="utf-8"?><C:calendar-query xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><D:prop><D:getetag/></D:prop><C:filter><C:comp-filter name="VCALENDAR"><C:comp-filter name="VEVENT"><C:time-range start="2026{r.randint(1, 12):02}01T000000Z" end="20270101T000000Z"/><C:prop-filter name="SUMMARY"><C:text-match>{w.word()}</C:text-match></C:prop-filter></C:comp-filter></C:comp-filter></C:filter></C:calendar-query>', "application/xml; charset=utf-8"),
        lambda: send("PUT", f"{base}/{uid}.ics", event(), "text/calendar; charset=utf-8", ("If-None-Match", "*")), lambda: send("PUT", f"{base}/{uid}.ics", event(), "text/calendar; charset=utf-8"), lambda: send("PUT", f"/{USER}/contacts/{uid}.vcf", card(), "text/vcard; charset=utf-8"),
        lambda: send("MKCALENDAR", f"/{USER}/{r.choice(('work', 'home'))}/", f'<?xml version="1.0"?><C:mkcalendar xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><D:set><D:prop><D:displayname>{w.word()}</D:displayname></D:prop></D:set></C:mkcalendar>', "application/xml"), lambda: send("PROPPATCH", base + "/", f'<?xml version="1.0"?><D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><D:displayname>{w.word()} {w.word()}</D:displayname><A:calendar-color xmlns:A="http://apple.com/ns/ical/">#{w.token(6, "0123456789ABCDEF")}FF</A:calendar-color></D:prop></D:set></D:propertyupdate>', "application/xml"),
    ])()


def kinto(work, port, _):
    site = empty(work / "site-kinto")
    (site / "kinto.ini").write_text(f"[app:main]\nuse = egg:kinto\nkinto.storage_backend = kinto.core.storage.memory\nkinto.cache_backend = kinto.core.cache.memory\nkinto.permission_backend = kinto.core.permission.memory\nkinto.userid_hmac_secret = lab\nmultiauth.policies = basicauth\nkinto.includes = kinto.plugins.default_bucket\nkinto.bucket_create_principals = system.Everyone\n[server:main]\nuse = egg:waitress#main\nhost = 127.0.0.1\nport = {port}\n")
    return [work / "venv/bin/kinto", "start", "--ini", "kinto.ini", "--port", port], site


AGENTS = ["okhttp/4.12.0", "Dart/3.4 (dart:io)", "MyShop/5.12.1 (iPhone; iOS 17.5; Scale/3.00)", "ShopApp/231 CFNetwork/1496.0.7 Darwin/23.5.0", "Dalvik/2.1.0 (Linux; U; Android 14; SM-S918B Build/UP1A.231005.007)", "python-requests/2.31.0", "curl/8.5.0", "axios/1.7.2", "Go-http-client/1.1", "PostmanRuntime/7.39.0", "Apache-HttpClient/4.5.14 (Java/17.0.9)", "GuzzleHttp/7", "node-fetch/1.0 (+https://github.com/bitinn/node-fetch)", "Faraday v2.9.0", "insomnia/9.3.1", "kube-probe/1.30", "RestSharp/111.2.0.0", "Mozilla/5.0 (compatible; ExampleBot/2.1; +https://example.com/bot.html)"]


def program(p, method, path, value=None, kind="application/json", extra=()):
    """A program or a mobile application, with the headers such have."""
    w, r = p.words, p.rng
    if not hasattr(p, "agent"):
        p.agent, p.bearer = r.choice(AGENTS), r.choice([f"Bearer {w.jwt()}", f"Bearer {w.token(40)}", "Basic " + base64.b64encode(f"{USER}:{w.password()}".encode()).decode(), f"token {w.token(36)}"])
    body = None if value is None else value if isinstance(value, bytes) else json.dumps(value, ensure_ascii=r.random() < 0.5).encode("utf-8", "replace") if not isinstance(value, str) else value.encode("utf-8", "replace")
    odd = r.sample([("X-Request-Id", w.uuid()), ("X-Device-Id", w.token(16, "0123456789abcdef")), ("X-App-Version", f"5.{r.randint(0, 30)}.{r.randint(0, 9)}"), ("X-Client-Info", json.dumps({"os": "Android 14", "model": "SM-S918B", "locale": "de_DE"})), ("traceparent", f"00-{w.token(32, '0123456789abcdef')}-{w.token(16, '0123456789abcdef')}-01"), ("X-Forwarded-For", f"203.0.113.{r.randint(1, 254)}, 10.0.0.{r.randint(1, 254)}"), ("Cache-Control", "no-cache"), ("If-None-Match", f'W/"{w.token(27)}"'), ("X-Timezone", "America/Argentina/Buenos_Aires"), ("baggage", f"sentry-environment=production,sentry-release=app%40{r.randint(1, 9)}.{r.randint(0, 9)}.0,sentry-trace_id={w.token(32, '0123456789abcdef')}")], r.randint(0, 3))
    headers = [("User-Agent", p.agent), ("Accept", r.choice(["application/json", "*/*", "application/json, text/plain, */*"])), ("Accept-Encoding", "gzip"), *([("Content-Type", kind)] if body is not None else []), *([] if any(name == "Authorization" for name, _ in extra) else [("Authorization", p.bearer)]), *odd, *extra]
    return p.send(method, path, body, headers=headers)


def kinto_call(p):
    w, r = p.words, p.rng
    p.agent, p.bearer = getattr(p, "agent", r.choice(AGENTS)), "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    base = f"/v1/buckets/default/collections/{r.choice(('tasks', 'notes', 'articles', 'settings'))}/records"
    r.choice([
        lambda: program(p, "POST", base, {"data": {"title": w.short(), "body": w.long(), "done": False, "tags": [w.word() for _ in range(3)], "meta": w.json()}}), lambda: program(p, "PUT", f"{base}/{w.uuid()}", {"data": w.json() if r.random() < 0.5 else {"text": w.markdown()}, "permissions": {"read": ["system.Everyone"]}}), lambda: program(p, "PATCH", f"{base}/{w.uuid()}", [{"op": "replace", "path": "/data/title", "value": w.short()}], "application/json-patch+json"), lambda: program(p, "GET", f"{base}?like_title={q(w.query())}&_sort=-last_modified&_limit=20&min_rank={r.randint(1, 9)}&in_status={q('new,open')}"),
        lambda: program(p, "POST", "/v1/batch", {"defaults": {"method": "POST", "path": base}, "requests": [{"body": {"data": {"n": w.short(), "text": w.prose()}}} for _ in range(3)]}), lambda: program(p, "GET", f"{base}?contains_tags={q(json.dumps([w.word()], ensure_ascii=False))}&exclude_id={w.uuid()}&_fields=title,body"),
    ])()


def notebook(work, port, _):
    site = empty(work / "site-notebook")
    return [work / "venv/bin/jupyter", "server", "--allow-root", "--no-browser", f"--port={port}", "--ip=127.0.0.1", "--IdentityProvider.token=", "--ServerApp.password=", "--ServerApp.disable_check_xsrf=True", f"--ServerApp.root_dir={site}"], site


def notebook_call(p):
    w, r = p.words, p.rng
    cell = lambda: {"cell_type": r.choice(("code", "code", "markdown")), "id": w.token(8), "metadata": {"trusted": True}, "source": r.choice([lambda: w.code("python"), lambda: w.code("python"), w.markdown, lambda: f"!pip install {w.word()} && ls -la | grep {w.word()}", lambda: f"%%bash\n{w.code('shell')}", lambda: f"import os\nos.system('{w.command()}')\nopen('{w.path()}').read()", lambda: f"%sql {w.sql()}", lambda: f"subprocess.run(['sh', '-c', 'cat {w.path()} | wc -l'], check=True)"])(), "outputs": [], "execution_count": r.randint(1, 99)}
    name = urllib.parse.quote(w.word() + r.choice((".ipynb", "/notes.ipynb", ".py", ".md")))
    r.choice([
        lambda: p.ajax("PUT", f"/api/contents/{name}?1731{r.randint(10**8, 10**9)}", {"type": "notebook", "format": "json", "content": {"cells": [cell() for _ in range(r.randint(1, 5))], "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}, "nbformat": 4, "nbformat_minor": 5}}), lambda: p.ajax("PUT", f"/api/contents/{w.word()}.py", {"type": "file", "format": "text", "content": w.code("python")}), lambda: p.ajax("GET", f"/api/contents?content=1&hash=0&type=directory&1731{r.randint(10**8, 10**9)}"),
        lambda: p.ajax("PATCH", f"/api/contents/{name}", {"path": w.phrase(1, 3) + ".ipynb"}), lambda: p.ajax("POST", "/api/sessions", {"kernel": {"name": "nothing"}, "name": w.word(), "path": w.word() + ".ipynb", "type": "notebook"}), lambda: p.ajax("PUT", "/lab/api/settings/@jupyterlab/notebook-extension:tracker?1731", {"raw": w.code("javascript")}), lambda: p.ajax("POST", "/api/nbconvert/html", {"content": {"cells": [cell()]}}),
    ])()


def wsgidav(work, port, _):
    site = empty(work / "site-wsgidav")
    for name in ("docs", "photos"):
        (site / name).mkdir()
    return [work / "venv/bin/wsgidav", "--host", "127.0.0.1", "--port", port, "--root", str(site), "--auth", "anonymous"], site


def wsgidav_call(p):
    w, r = p.words, p.rng
    agent = r.choice(["Microsoft-WebDAV-MiniRedir/10.0.19045", "gvfs/1.50.3", "davfs2/1.7.0 neon/0.32.2", "Mozilla/5.0 (Windows) mirall/3.13.0 (build 20240424) (Nextcloud, windows-10.0)", "rclone/v1.66.0", "WebDAVFS/3.0.0 (03008000) Darwin/23.5.0 (x86_64)", "Cyberduck/8.8.2 (Mac OS X/14.5)"])
    name = urllib.parse.quote(f"/{r.choice(('docs', 'photos'))}/{w.phrase(1, 4).replace('/', '-')}{r.choice(('.txt', '.odt', '.jpg', '.md', ''))}")
    filename, kind, data = w.file()
    send = lambda method, body, kind, *extra: p.send(method, name, body, headers=dav_headers(p, agent, kind, extra))
    r.choice([
        lambda: send("PROPFIND", b'<?xml version="1.0" encoding="utf-8" ?><D:propfind xmlns:D="DAV:"><D:prop><D:getlastmodified/><D:getcontentlength/><D:quota-used-bytes/></D:prop></D:propfind>', "text/xml"), lambda: send("PUT", data, kind), lambda: send("MKCOL", b"", "text/plain"), lambda: send("MOVE", b"", "text/plain", ("Destination", f"http://site.example/docs/{urllib.parse.quote(w.phrase(1, 3))}"), ("Overwrite", "F")), lambda: send("LOCK", f'<?xml version="1.0" encoding="utf-8"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype><D:owner><D:href>{w.email()}</D:href></D:owner></D:lockinfo>'.encode(), "application/xml", ("Timeout", "Second-3600")), lambda: send("GET", b"", "text/plain", ("Range", f"bytes={r.randint(0, 9)}-")), lambda: p.go("/docs/"),
    ])()


def moto(work, port, _):
    return [work / "venv/bin/moto_server", "-H", "127.0.0.1", "-p", port], empty(work / "site-moto")


def moto_call(p):
    w, r = p.words, p.rng
    sign = lambda service: [("X-Amz-Date", "20261121T101500Z"), ("Authorization", f"AWS4-HMAC-SHA256 Credential=AKIA{w.token(16).upper()}/20261121/eu-west-1/{service}/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature={w.token(64, '0123456789abcdef')}"), ("amz-sdk-invocation-id", w.uuid())]
    p.agent = r.choice(["aws-cli/2.15.30 md/awscrt#0.19.19 ua/2.0 os/linux#6.5.0 md/arch#x86_64 lang/python#3.11.8 md/prompt#off md/command#s3.cp", "Boto3/1.34.84 md/Botocore#1.34.84 ua/2.0 os/linux#6.8 md/arch#x86_64 lang/python#3.12.3", "aws-sdk-java/2.25.35 Linux/5.15 OpenJDK_64-Bit_Server_VM/17.0.10 Java/17.0.10", "aws-sdk-js/3.552.0 ua/2.1 os/linux lang/js md/nodejs#20.12.2 api/s3#3.552.0"])
    p.bearer = "-"
    of_action = {"SendMessage": "sqs", "Publish": "sns", "CreatePolicy": "iam", "DescribeInstances": "ec2", "RunInstances": "ec2"}
    of_target = {"DynamoDB_20120810": "dynamodb", "AmazonSSM": "ssm", "Logs_20140328": "logs"}
    form = lambda **values: program(p, "POST", "/", urllib.parse.urlencode(values), "application/x-www-form-urlencoded; charset=utf-8", sign(of_action[values["Action"]]))
    target = lambda name, value, version="1.0": program(p, "POST", "/", value, f"application/x-amz-json-{version}", [*sign(of_target[name.split(".")[0]]), ("X-Amz-Target", name)])
    filename, kind, data = w.file()
    key = urllib.parse.quote(w.phrase(1, 4) + filename, safe="/")
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:*"], "Resource": f"arn:aws:s3:::{w.word().lower()}/*", "Condition": {"StringLike": {"aws:Referer": [w.url() + "*"]}}}]}
    r.choice([
        lambda: program(p, "PUT", f"/{r.choice(('backup', 'media', 'logs'))}/{key}", data, kind, [*sign("s3"), ("x-amz-content-sha256", w.token(64, "0123456789abcdef")), ("x-amz-meta-author", urllib.parse.quote(w.name()))]), lambda: program(p, "GET", f"/media?list-type=2&prefix={q(w.word())}%2F&delimiter=%2F&encoding-type=url&max-keys=1000", extra=sign("s3")), lambda: form(Action="SendMessage", QueueUrl="http://site.example/123456789012/jobs", MessageBody=json.dumps(w.json(), ensure_ascii=False), Version="2012-11-05"), lambda: form(Action="Publish", TopicArn="arn:aws:sns:eu-west-1:123456789012:alerts", Subject=w.short()[:90], Message=w.long(), Version="2010-03-31"),
        lambda: form(Action="CreatePolicy", PolicyName=w.word(), PolicyDocument=json.dumps(policy), Version="2010-05-08"), lambda: form(Action="DescribeInstances", **{"Filter.1.Name": "tag:Name", "Filter.1.Value.1": f"*{w.word()}*", "Filter.2.Name": "instance-state-name", "Filter.2.Value.1": "running"}, Version="2016-11-15"), lambda: form(Action="RunInstances", ImageId="ami-" + w.token(17, "0123456789abcdef"), MinCount="1", MaxCount="1", UserData=base64.b64encode(("#!/bin/bash\n" + w.code("shell")).encode()).decode(), Version="2016-11-15"),
        lambda: target("DynamoDB_20120810.PutItem", {"TableName": "orders", "Item": {"id": {"S": w.uuid()}, "name": {"S": w.name()}, "text": {"S": w.long()}, "n": {"N": str(r.randint(1, 999))}}, "ConditionExpression": "attribute_not_exists(id)"}), lambda: target("DynamoDB_20120810.Query", {"TableName": "orders", "KeyConditionExpression": "#p = :p AND begins_with(#s, :s)", "FilterExpression": "price BETWEEN :a AND :b OR contains(tags, :t)", "ExpressionAttributeNames": {"#p": "id", "#s": "sort"}, "ExpressionAttributeValues": {":p": {"S": w.word()}, ":s": {"S": w.word()}, ":a": {"N": "1"}, ":b": {"N": "9"}, ":t": {"S": w.short()}}}), lambda: target("DynamoDB_20120810.ExecuteStatement", {"Statement": f"SELECT * FROM orders WHERE name = '{w.word()}' AND price > {r.randint(1, 99)}"}), lambda: target("AmazonSSM.PutParameter", {"Name": f"/app/{w.word()}", "Value": r.choice([w.password, w.code])(), "Type": "SecureString", "Overwrite": True}, "1.1"), lambda: target("AmazonSSM.SendCommand", {"DocumentName": "AWS-RunShellScript", "Parameters": {"commands": [w.command(), w.command()]}, "Targets": [{"Key": "tag:Role", "Values": ["web"]}]}, "1.1"), lambda: target("Logs_20140328.PutLogEvents", {"logGroupName": "/aws/lambda/" + w.word(), "logStreamName": "2026/11/21/[$LATEST]" + w.token(32, "0123456789abcdef"), "logEvents": [{"timestamp": 1763719000000 + n, "message": w.code_line()} for n in range(4)]}, "1.1"), lambda: target("Logs_20140328.StartQuery", {"logGroupName": "x", "queryString": f"fields @timestamp, @message | filter @message like /{w.word()}/ | sort @timestamp desc | limit 20", "startTime": 1, "endTime": 2}, "1.1"),
    ])()


def pypiserver(work, port, _):
    site = empty(work / "site-pypi")
    return [work / "venv/bin/pypi-server", "run", "-p", port, "-i", "127.0.0.1", "-P", ".", "-a", ".", "--hash-algo", "sha256", str(site)], site


def pypiserver_call(p):
    w, r = p.words, p.rng
    name = w.word().lower().encode("ascii", "ignore").decode() or "lab"
    version = f"{r.randint(0, 9)}.{r.randint(0, 30)}.{r.randint(0, 9)}"
    p.agent = r.choice([f'pip/24.0 {{"ci":null,"cpu":"x86_64","distro":{{"id":"bookworm","libc":{{"lib":"glibc","version":"2.36"}},"name":"Debian GNU/Linux","version":"12"}},"implementation":{{"name":"CPython","version":"3.11.{r.randint(0, 9)}"}},"installer":{{"name":"pip","version":"24.0"}},"openssl_version":"OpenSSL 3.0.11 19 Sep 2023","python":"3.11.2","rustc_version":null,"setuptools_version":"66.1.1","system":{{"name":"Linux","release":"6.1.0-18-amd64"}}}}', "twine/5.0.0 CPython/3.11.2", "uv/0.4.20", "poetry/1.8.3 CPython/3.12.2 Linux/6.8.0"])
    p.bearer = "Basic " + base64.b64encode(f"__token__:pypi-{w.token(60)}".encode()).decode()
    mark = w.token(32, "0123456789abcdef")
    parts = {":action": "file_upload", "protocol_version": "1", "metadata_version": "2.1", "name": name, "version": version, "summary": w.phrase(), "description": w.markdown(), "description_content_type": "text/markdown", "author": w.name(), "author_email": w.email(), "license": "MIT", "requires_dist": f"{name}>=1.0,<2; python_version < '3.12' and extra == 'dev'", "home_page": w.url(), "sha256_digest": w.token(64, "0123456789abcdef")}
    upload = lambda: ("".join(f'--{mark}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in parts.items()) + f'--{mark}\r\nContent-Disposition: form-data; name="content"; filename="{name}-{version}.tar.gz"\r\nContent-Type: application/octet-stream\r\n\r\n').encode("utf-8", "replace") + r.randbytes(600) + f"\r\n--{mark}--\r\n".encode()
    r.choice([lambda: program(p, "GET", f"/simple/{name}/", extra=[("Cache-Control", "max-age=0")]), lambda: program(p, "GET", f"/packages/{name}-{version}-py3-none-any.whl"), lambda: program(p, "POST", "/", upload(), f"multipart/form-data; boundary={mark}"), lambda: program(p, "GET", f"/simple/{urllib.parse.quote(w.word().lower())}/"), lambda: program(p, "POST", "/pypi", f"<?xml version='1.0'?><methodCall><methodName>search</methodName><params><param><value><struct><member><name>name</name><value><array><data><value><string>{name}</string></value></data></array></value></member></struct></value></param><param><value><string>or</string></value></param></params></methodCall>", "text/xml")])()


def prometheus(work, port, _):
    site = empty(work / "site-prometheus")
    (site / "p.yml").write_text(f"global:\n  scrape_interval: 5s\nscrape_configs:\n- job_name: self\n  static_configs:\n  - targets: ['127.0.0.1:{port}']\n")
    return ["prometheus", "--config.file=p.yml", f"--storage.tsdb.path={site}/data", f"--web.listen-address=127.0.0.1:{port}"], site


def prometheus_call(p):
    w, r = p.words, p.rng
    label = lambda: r.choice([f'job="{w.word().lower()}"', f'instance=~"{w.word().lower()}.*:9100"', f'status!~"5..|4.."', f'path=~"/api/(v1|v2)/{w.word().lower()}/.+"', 'le="+Inf"', f'handler="/{w.word().lower()}"'])
    metric = lambda: r.choice(["http_requests_total", "node_cpu_seconds_total", "prometheus_http_requests_total", "up", "node_filesystem_avail_bytes", "go_goroutines", f"{w.word().lower()}_total"])
    query = lambda: r.choice([lambda: f"sum by (job, instance) (rate({metric()}{{{label()}, {label()}}}[5m]))", lambda: f"histogram_quantile(0.9{r.randint(0, 9)}, sum(rate({metric()}_bucket{{{label()}}}[{r.randint(1, 30)}m])) by (le))", lambda: f"{metric()}{{{label()}}} > {r.randint(1, 99)} and on(instance) {metric()} offset 1h", lambda: f"100 * (1 - avg(irate({metric()}{{{label()}}}[1m])) without (cpu)) or vector(0)", lambda: f"topk({r.randint(1, 20)}, {metric()}) unless {metric()}{{{label()}}} == 0", lambda: f"label_replace({metric()}, \"x\", \"$1\", \"instance\", \"(.*):.*\")", metric])()
    r.choice([lambda: p.ajax("GET", f"/api/v1/query_range?query={urllib.parse.quote(query())}&start={r.randint(17 * 10**8, 18 * 10**8)}.{r.randint(0, 999)}&end=1763719000&step={r.randint(5, 60)}"), lambda: p.ajax("GET", f"/api/v1/query?query={q(query())}&time=1763719000.123"), lambda: program(p, "POST", "/api/v1/query", urllib.parse.urlencode({"query": query(), "time": "1763719000"}), "application/x-www-form-urlencoded"), lambda: p.ajax("GET", f"/api/v1/series?match[]={q(query())}&start=1763710000"), lambda: p.go(f"/graph?g0.expr={q(query())}&g0.tab=1&g0.stacked=0&g0.range_input=1h&g1.expr={q(query())}&g1.tab=0"), lambda: p.ajax("GET", f"/api/v1/label/{w.word().lower()}/values")])()


def influxdb(work, port, _):
    site = empty(work / "site-influxdb")
    (site / "i.conf").write_text(f'reporting-disabled = true\nbind-address = "127.0.0.1:8188"\n[meta]\ndir = "{site}/meta"\n[data]\ndir = "{site}/data"\nwal-dir = "{site}/wal"\n[http]\nenabled = true\nbind-address = "127.0.0.1:{port}"\n')
    return ["influxd", "-config", "i.conf"], site


def influxdb_call(p):
    w, r = p.words, p.rng
    name = lambda: w.word().lower()
    query = lambda: r.choice([lambda: f'SELECT mean("value") FROM "{name()}" WHERE ("host" =~ /^{name()}.*$/) AND time >= now() - {r.randint(1, 48)}h GROUP BY time({r.randint(1, 60)}m), "host" fill(null)', lambda: f'SHOW TAG VALUES FROM "{name()}" WITH KEY = "host" WHERE "region" = \'{name()}\'', lambda: f'CREATE DATABASE "{name()}"; SHOW MEASUREMENTS', lambda: f'SELECT * FROM "{name()}" WHERE "message" = \'{w.phrase()}\' OR "level" != \'info\' ORDER BY time DESC LIMIT {r.randint(1, 500)}', lambda: f'SELECT derivative(max("bytes"), 1s) INTO "{name()}"."autogen"."x" FROM "{name()}" GROUP BY *', lambda: f'DELETE FROM "{name()}" WHERE time < \'2026-01-0{r.randint(1, 9)}\''])()
    line = lambda: f"{name()},host={name()},path={w.path().replace(' ', '')} value={r.uniform(0, 100):.3f},note=\"{w.phrase().replace(chr(34), '')}\" {r.randint(17 * 10**17, 18 * 10**17)}"
    r.choice([lambda: p.ajax("GET", f"/query?db={name()}&epoch=ms&q={urllib.parse.quote(query(), safe='()*')}"), lambda: program(p, "POST", f"/query?db=lab&u=admin&p={q(w.password())}", urllib.parse.urlencode({"q": query()}), "application/x-www-form-urlencoded"), lambda: program(p, "POST", "/write?db=lab&precision=ns&rp=autogen", "\n".join(line() for _ in range(r.randint(1, 8))), "text/plain; charset=utf-8"), lambda: program(p, "GET", f"/query?pretty=true&q={q(query())}")])()


def git_site(work, port, _):
    site = empty(work / "site-git")
    for number in range(3):
        quiet("git", "init", "--bare", "-q", site / f"r{number}.git")
        quiet("git", "-C", site / f"r{number}.git", "config", "http.receivepack", "true")
    (site / "server.py").write_text("import http.server,sys,os\nclass H(http.server.CGIHTTPRequestHandler):\n    cgi_directories=['/git','/gitweb']\n    have_fork=True\nos.environ['GIT_PROJECT_ROOT']=os.getcwd();os.environ['GIT_HTTP_EXPORT_ALL']='1'\nhttp.server.ThreadingHTTPServer(('127.0.0.1',int(sys.argv[1])),H).serve_forever()\n")
    (site / "git").mkdir()
    (site / "git/smart").symlink_to("/usr/lib/git-core/git-http-backend")
    (site / "gitweb").mkdir()
    (site / "gitweb/gitweb.cgi").symlink_to("/usr/share/gitweb/gitweb.cgi")
    (site / "gitweb.conf").write_text(f"$projectroot='{site}';$feature{{'grep'}}{{'default'}}=[1];$feature{{'search'}}{{'default'}}=[1];")
    return ["env", f"GITWEB_CONFIG={site}/gitweb.conf", "/usr/bin/python3", "server.py", port], site


def git_call(p):
    """git itself pushes and clones; a browser looks at the repositories."""
    w, r = p.words, p.rng
    home = w.folder
    if r.random() < 0.15:
        copy = home / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        env = {**os.environ, "HOME": str(home), "GIT_TERMINAL_PROMPT": "0"}
        script = f"git clone -q http://127.0.0.1:{p.port}/git/smart/r{r.randint(0, 2)}.git copy && cd copy && echo x > a{r.randint(1, 10**6)} && git add . && git -c user.name=A -c user.email=a@b.c commit -q -F ../message && git push -q origin HEAD:refs/heads/{w.token(6).lower()}"
        (home / "message").write_text(w.markdown() or "x")
        subprocess.run(["sh", "-c", script], cwd=home, env=env, timeout=20, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return
    repo = f"r{r.randint(0, 2)}.git"
    r.choice([lambda: p.go(f"/gitweb/gitweb.cgi?p={repo};a={r.choice(('summary', 'log', 'tree', 'heads'))}"), lambda: p.go(f"/gitweb/gitweb.cgi?p={repo}&a=search&h=HEAD&st={r.choice(('commit', 'grep', 'author', 'pickaxe'))}&s={q(w.short())}"), lambda: p.go(f"/gitweb/gitweb.cgi?p={repo};a=blob;f={urllib.parse.quote(w.path()[1:])};h={w.token(40, '0123456789abcdef')};hb=HEAD"), lambda: p.go(f"/gitweb/gitweb.cgi?a=project_list;s={q(w.query())}")])()


APPS = [
    App("django", django, ["/admin/", "/admin/auth/user/", "/admin/flatpages/flatpage/", "/admin/auth/user/1/password/"], admin_enter("/admin/login/?next=/admin/"), django_call, 0.7, [], ("/admin/login/?next=/admin/", {"username": USER, "password": PASSWORD}), True),
    App("wagtail", wagtail, ["/admin/", "/admin/pages/3/", "/admin/images/", "/admin/reports/", "/admin/account/", "/"], admin_enter("/admin/login/"), wagtail_call, 0.7, [], ("/admin/login/", {"username": USER, "password": PASSWORD}), True, 150),
    App("datasette", datasette, ["/", "/shop", "/shop/product"], None, datasette_call, 0.8, browser=True), App("isso", isso, ["/"], None, isso_call, 1.0), App("radicale", radicale, ["/"], None, radicale_call, 1.0),
    App("kinto", kinto, ["/v1/"], None, kinto_call, 1.0), App("notebook", notebook, ["/api/contents"], None, notebook_call, 0.95), App("wsgidav", wsgidav, ["/", "/docs/"], None, wsgidav_call, 1.0), App("moto", moto, ["/moto-api/"], None, moto_call, 1.0), App("pypiserver", pypiserver, ["/", "/simple/"], None, pypiserver_call, 0.97),
    App("prometheus", prometheus, ["/graph", "/targets", "/status"], None, prometheus_call, 0.95, browser=True), App("influxdb", influxdb, ["/ping"], None, influxdb_call, 1.0), App("git", git_site, ["/gitweb/gitweb.cgi"], None, git_call, 0.8),
]
