"""Applications in PHP as Debian packages them: wikis, a weblog, database consoles, bookmarks."""

import os
import shutil
import urllib.parse

from apps import DB_PASSWORD, DB_USER, PASSWORD, USER, App, php, quiet


def q(text):
    return urllib.parse.quote_plus(text)


def copied(source, site):
    shutil.rmtree(site, ignore_errors=True)
    shutil.copytree(source, site, symlinks=False, ignore_dangling_symlinks=True)
    return site


def wordpress(work, port, database):
    database.fresh("wordpress")
    site = copied("/usr/share/wordpress", work / "site-wordpress")
    (site / "wp-config.php").write_text(
        f"<?php define('DB_NAME','wordpress');define('DB_USER','{DB_USER}');define('DB_PASSWORD','{DB_PASSWORD}');define('DB_HOST','127.0.0.1');define('DB_CHARSET','utf8mb4');$table_prefix='wp_';"
        "define('WP_HOME','http://'.$_SERVER['HTTP_HOST']);define('WP_SITEURL','http://'.$_SERVER['HTTP_HOST']);define('WP_HTTP_BLOCK_EXTERNAL',true);define('DISABLE_WP_CRON',true);"
        "foreach(['AUTH_KEY','SECURE_AUTH_KEY','LOGGED_IN_KEY','NONCE_KEY','AUTH_SALT','SECURE_AUTH_SALT','LOGGED_IN_SALT','NONCE_SALT'] as $k) define($k,'lab-'.$k);"
        "if(!defined('ABSPATH'))define('ABSPATH',__DIR__.'/');require_once ABSPATH.'wp-settings.php';"
    )
    (site / "wp-content/uploads").mkdir(parents=True, exist_ok=True)
    (site / "router.php").write_text("<?php $p=parse_url($_SERVER['REQUEST_URI'],PHP_URL_PATH);if(is_dir(__DIR__.$p)&&is_file(__DIR__.rtrim($p,'/').'/index.php')&&$p!='/'){if(substr($p,-1)!='/'){header('Location: '.$p.'/');exit;}chdir(__DIR__.$p);$_SERVER['SCRIPT_NAME']=$_SERVER['PHP_SELF']=$p.'index.php';require __DIR__.$p.'index.php';exit;}if(is_file(__DIR__.$p))return false;require __DIR__.'/index.php';")
    install = f"$_SERVER['HTTP_HOST']='127.0.0.1:{port}';define('WP_INSTALLING',true);require '{site}/wp-load.php';require '{site}/wp-admin/includes/upgrade.php';wp_install('Lab','{USER}','alice@example.org',true,'','{PASSWORD}');update_option('permalink_structure','/%year%/%postname%/');update_option('comment_moderation',0);update_option('comment_previously_approved',0);"
    quiet("php", "-r", install)
    return php(port, site, router=site / "router.php"), site


def wordpress_enter(p):
    p.go("/wp-login.php")
    for form in p.forms()[:1]:
        p.submit(form, {"log": USER, "pwd": PASSWORD})
    p.go("/wp-admin/post-new.php")
    found = p.text.split('createNonceMiddleware( "')
    p.nonce = found[1][:10] if len(found) > 1 else ""


def wordpress_call(p):
    w, r = p.words, p.rng
    key = [("X-WP-Nonce", getattr(p, "nonce", ""))]
    block = lambda: w.rich() if r.random() < 0.6 else f"<!-- wp:code -->\n<pre class=\"wp-block-code\"><code>{w.code()}</code></pre>\n<!-- /wp:code -->"
    r.choice([
        lambda: p.ajax("POST", "/wp-json/wp/v2/posts?_locale=user", {"title": w.short(), "content": block() + "\n\n" + block(), "status": r.choice(("draft", "publish")), "excerpt": w.prose()[:200], "meta": {"footnotes": ""}}, extra=key),
        lambda: p.ajax("POST", f"/wp-json/wp/v2/posts/{r.randint(1, 40)}/autosaves?_locale=user", {"id": r.randint(1, 40), "title": w.short(), "content": block(), "excerpt": ""}, extra=key),
        lambda: p.ajax("POST", "/wp-admin/admin-ajax.php", {"interval": "60", "_nonce": p.words.token(10), "action": "heartbeat", "screen_id": "post", "has_focus": "true", "data[wp_autosave][post_id]": "7", "data[wp_autosave][post_title]": w.short(), "data[wp_autosave][content]": block()}, "form"),
        lambda: p.ajax("GET", f"/wp-json/wp/v2/search?search={q(w.query())}&per_page=20&type=post&subtype=any&isInitialSuggestions=false&_locale=user", extra=key),
        lambda: p.ajax("POST", "/wp-json/wp/v2/tags", {"name": w.short(), "description": w.prose()[:300]}, extra=key),
        lambda: p.ajax("POST", "/wp-json/wp/v2/comments", {"post": 1, "content": w.long(), "author_name": w.name(), "author_email": w.email()}, extra=key),
        lambda: p.go(f"/?s={q(w.query())}"),
        lambda: p.ajax("POST", "/wp-json/wp/v2/media?_locale=user", {"file": w.file(), "title": w.short(), "alt_text": w.phrase()}, "file", extra=key),
        lambda: p.ajax("GET", f"/wp-json/oembed/1.0/proxy?url={urllib.parse.quote(w.url(), safe='')}&_locale=user", extra=key),
        lambda: p.ajax("POST", "/xmlrpc.php", f"<?xml version='1.0'?><methodCall><methodName>metaWeblog.newPost</methodName><params><param><value><string>1</string></value></param><param><value><string>{USER}</string></value></param><param><value><string>{PASSWORD}</string></value></param><param><value><struct><member><name>title</name><value><string>{xml(w.short())}</string></value></member><member><name>description</name><value><string>{xml(w.rich())}</string></value></member></struct></value></param></params></methodCall>", "text/xml"),
    ])()


def xml(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def mediawiki(work, port, _):
    site = work / "site-mediawiki"
    shutil.rmtree(site, ignore_errors=True)
    shutil.copytree("/usr/share/mediawiki", site, symlinks=True)
    for link in ("LocalSettings.php", "config", "extensions", "images"):
        (site / link).unlink(missing_ok=True)
    (site / "extensions-core").rename(site / "extensions")
    (site / "images").mkdir()
    quiet("php", site / "maintenance/install.php", "--dbtype", "sqlite", "--dbpath", site / "data", "--server", "http://127.0.0.1", "--scriptpath", "", "--pass", PASSWORD, "Lab Wiki", USER)
    with open(site / "LocalSettings.php", "a") as settings:
        settings.write(f"\n$wgServer = WebRequest::detectServer();\n$wgEnableUploads = true;\n$wgFileExtensions=array_merge($wgFileExtensions,['txt','svg','pdf']);\n$wgMainCacheType = CACHE_DB;\n$wgCacheDirectory = '{site}/cache';\n$wgGroupPermissions['*']['edit'] = true;\n$wgRateLimits = [];\n$wgJobRunRate = 0;\n$wgSQLiteSharedCache=true;\n")
    return php(port, site), site


def mediawiki_enter(p):
    p.go("/index.php?title=Special:UserLogin")
    for form in [form for form in p.forms() if form.get("name") == "userlogin"]:
        p.submit(form, {"wpName": USER, "wpPassword": PASSWORD})


def mediawiki_call(p):
    w, r = p.words, p.rng
    title = lambda: urllib.parse.quote(w.phrase(1, 3).replace(" ", "_"), safe=":(),'")

    def edit():
        p.go(f"/index.php?title={title()}&action=edit")
        for form in [form for form in p.forms() if form.get("id") == "editform"]:
            p.submit(form, {"wpTextbox1": w.rng.choice([w.long, w.markdown, w.rich, lambda: f"== {w.phrase()} ==\n{w.prose()}\n<syntaxhighlight lang=\"python\">\n{w.code()}\n</syntaxhighlight>\n{{{{Infobox|name={w.name()}|date={w.date()}}}}}\n[[{w.phrase(1, 2)}|{w.phrase()}]] <ref>{w.url()}</ref>\n<math>{w.maths()}</math>"])(), "wpSummary": w.short()})

    r.choice([
        edit, edit, lambda: p.go(f"/index.php?search={q(w.query())}&title=Special%3ASearch&profile=advanced&fulltext=1&ns0=1"), lambda: p.ajax("GET", f"/api.php?action=opensearch&format=json&formatversion=2&search={q(w.query())}&namespace=0&limit=10"),
        lambda: p.ajax("POST", "/api.php", {"action": "parse", "format": "json", "text": w.long(), "contentmodel": "wikitext", "title": w.phrase(), "preview": "1", "prop": "text|modules|categorieshtml"}, "form"), lambda: p.go(f"/index.php?title={title()}&action=history&offset=&limit=50"), lambda: p.go(f"/index.php/{title()}"),
        lambda: p.ajax("GET", f"/api.php?action=query&list=search&srsearch=intitle%3A{q(w.query())}&srlimit=20&format=json&continue=-%7C%7C&prop=info%7Cextracts"), lambda: p.ajax("POST", "/api.php", {"action": "upload", "format": "json", "filename": w.phrase(1, 3) + ".txt", "comment": w.short(), "token": "+\\", "file": w.file()}, "file"), lambda: p.ajax("GET", f"/api.php?action=expandtemplates&format=json&text={q('{{' + w.word() + '|' + w.short() + '}}')}"),
    ])()


def dokuwiki(work, port, _):
    site = copied("/usr/share/dokuwiki", work / "site-dokuwiki")
    for name in ("data", "conf"):
        shutil.rmtree(site / name, ignore_errors=True)
    shutil.copytree("/var/lib/dokuwiki/data", site / "data")
    shutil.copytree("/etc/dokuwiki", site / "conf", symlinks=True)
    for name in ("acl.auth.php", "users.auth.php"):
        (site / "conf" / name).unlink(missing_ok=True)
    (site / "conf/acl.auth.php").write_text("*\t@ALL\t8\n")
    digest = quiet("php", "-r", f"echo password_hash('{PASSWORD}', PASSWORD_BCRYPT);")
    (site / "conf/users.auth.php").write_text(f"{USER}:{digest}:Alice:alice@example.org:admin,user\n")
    (site / "conf/local.php").write_text(f"<?php\n$conf['title']='Lab';\n$conf['useacl']=1;\n$conf['superuser']='@admin';\n$conf['savedir']='{site}/data';\n$conf['defer_index']=0;\n")
    (site / "inc/preload.php").write_text(f"<?php define('DOKU_CONF','{site}/conf/');\n")
    return php(port, site), site


def dokuwiki_enter(p):
    p.go("/doku.php?id=start&do=login")
    for form in [form for form in p.forms() if form.get("id") == "dw__login"]:
        p.submit(form, {"u": USER, "p": PASSWORD})


def dokuwiki_call(p):
    w, r = p.words, p.rng
    page = lambda: q("_".join(w.word().lower() for _ in range(r.randint(1, 3))))

    def edit():
        p.go(f"/doku.php?id={page()}&do=edit")
        for form in [form for form in p.forms() if form.get("id") == "dw__editform"]:
            p.submit(form, {"wikitext": r.choice([w.long, w.markdown, lambda: f"====== {w.phrase()} ======\n\n{w.prose()}\n\n<code php>\n{w.code()}\n</code>\n\n  * {w.phrase()}\n  * [[{w.url()}|{w.phrase()}]]"])(), "summary": w.short()})

    r.choice([
        edit, edit, lambda: p.go(f"/doku.php?do=search&id=start&sf=1&q={q(w.query())}"), lambda: p.ajax("POST", "/lib/exe/ajax.php", {"call": r.choice(("qsearch", "suggestions", "linkwiz")), "q": w.query()}, "form"),
        lambda: p.ajax("POST", "/lib/exe/ajax.php", {"call": "draftsave", "id": w.word(), "wikitext": w.long(), "prefix": ".", "suffix": "", "date": "1731000000"}, "form"), lambda: p.ajax("POST", f"/lib/exe/ajax.php?tab_files=files&tab_details=view&do=media&ns={page()}&call=mediaupload&qqfile={q(w.phrase())}.txt", {"mediaid": w.word(), "ow": "true", "qqfile": w.file()}, "file"),
        lambda: p.go(f"/doku.php?id={page()}&do={r.choice(('revisions', 'backlink', 'index', 'diff', 'media', 'recent'))}"),
        lambda: p.ajax("POST", "/lib/exe/xmlrpc.php", f"<?xml version='1.0'?>\n<methodCall>\n<methodName>wiki.putPage</methodName>\n<params>\n<param><value><string>{w.word()}</string></value></param>\n<param><value><string>{xml(w.long())}</string></value></param>\n</params>\n</methodCall>\n", "text/xml"),
    ])()


SHOP = "create table if not exists product (id int primary key auto_increment, name varchar(200), price decimal(10,2), note text, added date); create table if not exists customer (id int primary key auto_increment, name varchar(200), mail varchar(200))"


def phpmyadmin(work, port, database):
    database.fresh("shop")
    database.sql("use shop; " + SHOP + "; insert into product (name, price, note) values ('lamp', 9.5, 'x'), ('O''Brien table', 120, 'oak')")
    site = copied("/usr/share/phpmyadmin", work / "site-phpmyadmin")
    (site / "libraries/vendor_config.php").write_text((site / "libraries/vendor_config.php").read_text().replace("/etc/phpmyadmin/", f"{site}/"))
    (site / "config.inc.php").write_text("<?php $cfg['blowfish_secret']='01234567890123456789012345678901';$i=1;$cfg['Servers'][$i]['auth_type']='cookie';$cfg['Servers'][$i]['host']='127.0.0.1';$cfg['SendErrorReports']='never';$cfg['VersionCheck']=false;$cfg['TempDir']='/tmp';")
    return php(port, site), site


def phpmyadmin_enter(p):
    p.go("/index.php?route=/")
    for form in [form for form in p.forms() if "login" in (form.get("id") or "") + (form.get("name") or "")]:
        p.submit(form, {"pma_username": DB_USER, "pma_password": DB_PASSWORD})
    found = p.page.xpath("//input[@name='token']/@value") if p.page is not None else []
    p.token = found[0] if found else ""


def phpmyadmin_call(p):
    w, r = p.words, p.rng
    base = lambda: {"ajax_request": "true", "server": "1", "token": getattr(p, "token", ""), "_nocache": str(r.randint(10**15, 10**16)), "db": "shop"}
    r.choice([
        lambda: p.ajax("POST", "/index.php?route=/import", {**base(), "table": "product", "is_js_confirmed": "0", "pos": "0", "goto": "index.php?route=/table/sql", "message_to_show": "Your SQL query has been executed successfully.", "prev_sql_query": w.sql(), "sql_query": w.sql(), "sql_delimiter": ";", "show_query": "1", "fk_checks": "1", "SQL": "Go", "ajax_page_request": "true"}, "form"),
        lambda: p.ajax("POST", "/index.php?route=/sql", {**base(), "table": "product", "sql_query": f"SELECT * FROM `product` WHERE `name` LIKE '%{w.word()}%' ORDER BY `price` DESC", "pos": str(r.randint(0, 99)), "session_max_rows": "25"}, "form"),
        lambda: p.ajax("POST", "/index.php?route=/table/replace", {**base(), "table": "product", "fields_name[multi_edit][0][abc]": "name", "fields[multi_edit][0][abc]": w.short(), "fields[multi_edit][0][def]": w.number(), "fields[multi_edit][0][ghi]": w.long(), "where_clause[0]": f"`product`.`id` = {r.randint(1, 9)}", "submit_type": "save", "after_insert": "back"}, "form"),
        lambda: p.ajax("POST", "/index.php?route=/table/search", {**base(), "table": "product", "columnsToDisplay[]": "name", "criteriaColumnOperators[1]": r.choice(("LIKE %...%", "=", "REGEXP", "IN (...)")), "criteriaValues[1]": w.short(), "customWhereClause": f"price > {r.randint(1, 9)} AND name <> '{w.word()}'", "orderByColumn": "--nil--"}, "form"),
        lambda: p.ajax("POST", "/index.php?route=/database/search", {**base(), "criteriaSearchString": w.query(), "criteriaSearchType": "1", "criteriaTables[]": "product", "submit_search": "Search"}, "form"), lambda: p.ajax("POST", "/index.php?route=/lint", {**base(), "sql_query": w.sql(), "options[lintStatement]": "false"}, "form"),
        lambda: p.ajax("POST", "/index.php?route=/import", {**base(), "import_type": "database", "charset_of_file": "utf-8", "format": "csv", "csv_terminated": ",", "csv_enclosed": '"', "csv_escaped": "\\", "import_file": w.file()}, "file"), lambda: p.go(f"/index.php?route=/sql&server=1&db=shop&table=product&pos=0&sql_query={q(w.sql())}"),
        lambda: p.ajax("POST", "/index.php?route=/table/create", {**base(), "table": w.word(), "num_fields": "2", "orig_num_fields": "2", "field_name[0]": w.word(), "field_type[0]": "INT", "field_comments[0]": w.phrase(), "field_name[1]": w.word(), "field_type[1]": "VARCHAR", "field_length[1]": "100", "field_default_value[1]": w.word(), "comment": w.short(), "do_save_data": "1"}, "form"),
    ])()


def adminer(work, port, database):
    database.fresh("shop")
    database.sql("use shop; " + SHOP)
    site = work / "site-adminer"
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir()
    shutil.copy("/usr/share/adminer/adminer.php", site / "index.php")
    return php(port, site), site


def adminer_enter(p):
    p.go("/")
    for form in [form for form in p.forms() if form.xpath(".//input[@type='password']")]:
        p.submit(form, {"auth[driver]": "server", "auth[server]": "127.0.0.1", "auth[username]": DB_USER, "auth[password]": DB_PASSWORD, "auth[db]": "shop"})


def adminer_call(p):
    w, r = p.words, p.rng
    here = f"/?server=127.0.0.1&username={DB_USER}&db=shop"

    def fill(path, given):
        p.go(here + path)
        for form in [form for form in p.forms() if form.get("id") == "form" or (form.get("method") or "") == "post"][:1]:
            p.submit(form, given)

    r.choice([
        lambda: fill("&sql=", {"query": w.sql() if r.random() < 0.7 else f"{w.sql()};\n-- {w.phrase()}\n{w.sql()}"}), lambda: fill("&edit=product", {"fields[name]": w.short(), "fields[price]": w.number(), "fields[note]": w.long()}), lambda: p.go(f"{here}&select=product&columns%5B0%5D%5Bfun%5D=count&where%5B0%5D%5Bcol%5D=name&where%5B0%5D%5Bop%5D={q(r.choice(('LIKE %%', '=', 'REGEXP', 'IN', 'IS NOT NULL')))}&where%5B0%5D%5Bval%5D={q(w.query())}&order%5B0%5D=price&limit=50&text_length=100"),
        lambda: p.go(f"{here}&sql={q(w.sql())}"), lambda: fill("&create=", {"name": w.word(), "fields[1][field]": w.word(), "fields[1][type]": "int", "Comment": w.phrase()}), lambda: fill("&view=", {"name": w.word(), "select": w.sql()}), lambda: p.go(f"{here}&import="),
    ])()


def shaarli(work, port, _):
    site = copied("/usr/share/shaarli", work / "site-shaarli")
    for name in ("data", "cache", "pagecache", "tmp"):
        shutil.rmtree(site / name, ignore_errors=True)
        (site / name).mkdir(exist_ok=True)
    (site / "router.php").write_text("<?php $p=parse_url($_SERVER['REQUEST_URI'],PHP_URL_PATH);if($p!='/'&&is_file(__DIR__.$p))return false;$_SERVER['SCRIPT_NAME']='/index.php';$_SERVER['PHP_SELF']='/index.php';require __DIR__.'/index.php';")
    return php(port, site, router=site / "router.php"), site


def shaarli_enter(p):
    p.go("/")
    if "install" in (p.place or ""):
        for form in p.forms()[:1]:
            p.submit(form, {"setlogin": USER, "setpassword": PASSWORD, "title": "Lab", "continent": "Europe", "city": "Berlin"})
    p.go("/login")
    for form in [form for form in p.forms() if "login" in (form.get("action") or "") + (form.get("name") or "")][-1:]:
        p.submit(form, {"login": USER, "password": PASSWORD})


def shaarli_call(p):
    w, r = p.words, p.rng

    def share():
        p.go(f"/admin/shaare?post={urllib.parse.quote(w.url(), safe='')}&title={q(w.short())}&description={q(w.prose()[:300])}&source=bookmarklet")
        for form in [form for form in p.forms() if form.get("name") == "linkform"]:
            p.submit(form, {"lf_description": w.markdown(), "lf_title": w.short(), "lf_tags": w.phrase()})

    r.choice([share, share, lambda: p.go(f"/?searchterm={q(w.query())}&searchtags={q(w.word())}"), lambda: p.go(f"/feed/atom?searchterm={q(w.query())}&nb=50"), lambda: p.go(f"/picture-wall?searchtags={q(w.phrase())}"), lambda: p.go(f"/daily?day={w.date()}")])()


APPS = [
    App("wordpress", wordpress, ["/", "/wp-admin/", "/wp-admin/edit.php", "/wp-admin/users.php", "/wp-admin/options-general.php", "/wp-admin/profile.php", "/wp-admin/edit-tags.php?taxonomy=category", "/wp-admin/post-new.php?post_type=page", "/wp-admin/edit-comments.php", "/wp-admin/upload.php", "/wp-admin/user-new.php", "/?p=1"], wordpress_enter, wordpress_call, 0.6, ["mariadb"], ("/wp-login.php", {"log": USER, "pwd": PASSWORD}), True),
    App("mediawiki", mediawiki, ["/index.php/Main_Page", "/index.php?title=Special:RecentChanges", "/index.php?title=Special:Search", "/index.php?title=Special:Preferences", "/index.php?title=Special:Log", "/index.php?title=Special:AllPages"], mediawiki_enter, mediawiki_call, 0.8, [], ("/index.php?title=Special:UserLogin", {"wpName": USER, "wpPassword": PASSWORD}), True),
    App("dokuwiki", dokuwiki, ["/doku.php?id=start", "/doku.php?id=start&do=admin&page=config", "/doku.php?id=start&do=profile", "/doku.php?id=start&do=index", "/doku.php?id=start&do=edit", "/doku.php?id=wiki:syntax"], dokuwiki_enter, dokuwiki_call, 0.7, [], ("/doku.php?id=start&do=login", {"u": USER, "p": PASSWORD}), True),
    App("phpmyadmin", phpmyadmin, ["/index.php?route=/", "/index.php?route=/database/structure&db=shop", "/index.php?route=/table/change&db=shop&table=product", "/index.php?route=/table/search&db=shop&table=product", "/index.php?route=/server/databases", "/index.php?route=/database/sql&db=shop"], phpmyadmin_enter, phpmyadmin_call, 0.7, ["mariadb"], ("/index.php?route=/", {"pma_username": DB_USER, "pma_password": DB_PASSWORD}), True),
    App("adminer", adminer, ["/", f"/?server=127.0.0.1&username={DB_USER}&db=shop", f"/?server=127.0.0.1&username={DB_USER}&db=shop&select=product"], adminer_enter, adminer_call, 0.8, ["mariadb"], ("/", {"auth[server]": "127.0.0.1", "auth[username]": DB_USER, "auth[password]": DB_PASSWORD, "auth[db]": "shop"}), True),
    App("shaarli", shaarli, ["/", "/admin/add-shaare", "/tags/cloud", "/admin/configure", "/admin/tools", "/admin/tags"], shaarli_enter, shaarli_call, 0.7, [], ("/login", {"login": USER, "password": PASSWORD}), True),
]
