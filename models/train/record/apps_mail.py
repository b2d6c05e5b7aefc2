"""Webmail: Roundcube over Dovecot, both as Debian packages them. Mail stays in memory; nothing can be sent anywhere."""

import json
import shutil
import urllib.parse
from pathlib import Path

from apps import PASSWORD, USER, App, Running, php

RUN = Path("/run/lab-mail")
DOVECOT = f"""protocols = imap
listen = 127.0.0.1
base_dir = {RUN}/dovecot
log_path = {RUN}/dovecot.log
ssl = no
disable_plaintext_auth = no
mail_location = maildir:{RUN}/mail/%u
first_valid_uid = 1
passdb {{
  driver = static
  args = password={PASSWORD}
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home={RUN}/mail/%u
}}
service imap-login {{
  inet_listener imap {{
    port = 1143
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
"""


def q(text):
    return urllib.parse.quote_plus(text)


def roundcube(work, port, _):
    shutil.rmtree(RUN, ignore_errors=True)
    (RUN / "mail").mkdir(parents=True)
    (RUN / "mail").chmod(0o777)
    (RUN / "dovecot.conf").write_text(DOVECOT)
    # It ends with the namespace, as everything does.
    Running("dovecot", ["dovecot", "-F", "-c", RUN / "dovecot.conf"], work, work / "dovecot.log")
    values = {"db_dsnw": f"sqlite:///{RUN}/roundcube.db?mode=0646", "imap_host": "127.0.0.1:1143", "default_host": "127.0.0.1", "default_port": 1143, "smtp_host": "127.0.0.1:2525", "des_key": "lab-lab-lab-lab-lab-lab-", "log_dir": f"{RUN}/", "temp_dir": f"{RUN}/", "create_default_folders": True, "htmleditor": 1, "session_lifetime": 60, "plugins": [], "login_rate_limit": 999, "enable_installer": False}
    Path("/etc/roundcube/config.inc.php").write_text("<?php\n$config = " + "json_decode(<<<'X'\n" + json.dumps(values) + "\nX, true);\n")
    return php(port, "/usr/share/roundcube"), work


def enter(p):
    p.go("/")
    for form in [form for form in p.forms() if form.xpath(".//input[@name='_user']")]:
        p.submit(form, {"_user": USER, "_pass": PASSWORD})
    found = [part for part in p.text.split('"request_token":"')[1:]]
    p.token = found[0].split('"')[0] if found else ""


def call(p):
    w, r = p.words, p.rng
    key = [("X-Roundcube-Request", getattr(p, "token", ""))]

    def compose():
        p.go("/?_task=mail&_action=compose")
        rich = r.random() < 0.5
        for form in [form for form in p.forms() if form.get("name") == "form"]:
            p.submit(form, {"_to": f"{w.name()} <{w.email()}>", "_cc": r.choice(["", w.email()]), "_subject": w.short(), "_message": w.rich() if rich else w.long(), "_is_html": str(int(rich)), "_draft": "1", "_framed": "1"})

    def save(path, given):
        p.go(path)
        for form in p.forms()[:1]:
            p.submit(form, given)

    r.choice([
        compose, compose, compose, lambda: p.ajax("GET", f"/?_task=mail&_action=search&_interval=&_q={q(w.query())}&_headers=subject%2Cfrom%2Ctext&_layout=widescreen&_filter={q('SINCE 1-Nov-2026 UNSEEN')}&_scope=base&_mbox=INBOX&_remote=1&_unlock=loading17&_=17{w.token(11, '0123456789')}", extra=key), lambda: save("/?_task=addressbook&_action=save&_framed=1&_source=0", {"_name": w.name()}),
        lambda: p.ajax("POST", "/?_task=addressbook&_framed=1", {"_action": "save", "_source": "0", "_gid": "", "_token": getattr(p, "token", ""), "_name": w.name(), "_firstname": w.name(), "_email_home[]": w.email(), "_notes": w.prose(), "_street_home[]": f"{w.word()} {r.randint(1, 99)}", "_website_homepage[]": w.url(), "_phone_home[]": f"+49 30 {r.randint(10**5, 10**7)}"}, "form"), lambda: p.ajax("POST", "/?_task=settings&_framed=1", {"_action": "save-response", "_token": getattr(p, "token", ""), "_name": w.short(), "_text": r.choice([w.rich, w.prose])(), "_is_html": "1"}, "form"),
        lambda: p.ajax("POST", "/?_task=settings&_framed=1", {"_action": "save-identity", "_iid": "1", "_token": getattr(p, "token", ""), "_name": w.name(), "_email": w.email(), "_organization": w.phrase(), "_signature": w.rich(), "_html_signature": "1"}, "form"), lambda: p.ajax("POST", f"/?_task=mail&_action=upload&_id={w.token(13)}&_uploadid=upload17{w.token(11, '0123456789')}&_remote=1&_from=compose", {"_token": getattr(p, "token", ""), "_attachments[]": w.file()}, "file", extra=key), lambda: p.go(f"/?_task=mail&_mbox=Drafts&_uid={r.randint(1, 60)}&_action=show"),
        lambda: p.ajax("POST", "/?_task=settings&_action=save-folder&_framed=1", {"_token": getattr(p, "token", ""), "_name": w.phrase(1, 2), "_parent": ""}, "form"), lambda: p.ajax("POST", "/?_task=mail&_action=autocomplete", {"_search": w.word(), "_reqid": w.token(13, "0123456789"), "_remote": "1"}, "form", extra=key),
    ])()


APPS = [App("roundcube", roundcube, ["/?_task=mail", "/?_task=settings", "/?_task=addressbook", "/?_task=settings&_action=preferences", "/?_task=settings&_action=edit-prefs&_section=compose&_framed=1", "/?_task=settings&_action=identities"], enter, call, 0.75, [], ("/", {"_user": USER, "_pass": PASSWORD}), True)]
