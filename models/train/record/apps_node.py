"""Applications from npm: flows in JSON with JavaScript inside, wikis of one page, a REST server, GraphQL, a document store, an
object store."""

import json
import shutil
import urllib.parse

from apps import App
from apps_python import empty, program


def q(text):
    return urllib.parse.quote_plus(text)


def jsonserver(work, port, _):
    site = empty(work / "site-jsonserver")
    (site / "db.json").write_text('{"posts": [{"id": 1, "title": "a"}], "comments": [], "orders": [], "users": [], "events": [], "profile": {"name": "x"}}')
    return [work / "node/node_modules/.bin/json-server", "--host", "127.0.0.1", "--port", port, "db.json"], site


def jsonserver_call(p):
    w, r = p.words, p.rng
    both = lambda *args: p.ajax(*args) if r.random() < 0.5 else program(p, *args)
    r.choice([
        lambda: both("POST", "/posts", {"title": w.short(), "body": w.long(), "tags": [w.short() for _ in range(3)], "author": {"name": w.name(), "email": w.email()}}), lambda: both("POST", "/comments", {"postId": r.randint(1, 99), "text": w.long(), "at": w.date(), "html": w.rich()}), lambda: both("PUT", "/profile", {"name": w.name(), "bio": w.long(), "site": w.url(), "settings": w.json()}), lambda: both("GET", f"/posts?q={q(w.query())}&_sort=title&_order=desc&_page={r.randint(1, 9)}&title_like={q(w.short())}&views_gte={r.randint(1, 9)}"),
        lambda: both("POST", "/orders", {"items": [{"sku": w.token(8), "qty": r.randint(1, 9), "note": w.short(), "price": r.uniform(1, 99)}], "payment": w.uuid(), "token": w.jwt(), "address": {"street": f"{w.word()} {r.randint(1, 99)}, Apt #{r.randint(1, 9)}", "city": w.word(), "zip": w.token(5, "0123456789")}, "coupon": w.token(6).upper()}), lambda: both("POST", "/events", [{"event": "click", "ts": 1763719000000, "selector": "#main > div.row:nth-child(2) > a[href=\"/cart\"]", "text": w.ui(), "page": w.url(), "error": f"TypeError: {w.code_line('javascript')}\n    at Object.<anonymous> ({w.url()}:12:{r.randint(1, 999)})"} for _ in range(r.randint(1, 3))]), lambda: both("PATCH", f"/posts/{r.randint(1, 30)}", w.json() if r.random() < 0.5 else {"body": w.markdown()}), lambda: both("POST", "/users", {"name": w.name(), "mail": w.email(), "password": w.password(), "avatar": "data:image/png;base64,iVBORw0KGgo" + w.token(300)}),
    ])()


def nodered(work, port, _):
    site = empty(work / "site-nodered")
    (site / "settings.js").write_text(f"module.exports = {{uiPort: {port}, uiHost: '127.0.0.1', flowFile: 'flows.json', credentialSecret: 'lab', externalModules: {{palette: {{allowInstall: false}}}}, telemetry: {{enabled: false, updateNotification: false}}}};")
    return [work / "node/node_modules/.bin/node-red", "-u", str(site), "-s", str(site / "settings.js")], site


def nodered_call(p):
    w, r = p.words, p.rng
    ident = lambda: w.token(16, "0123456789abcdef")
    node = lambda: r.choice([
        lambda: {"id": ident(), "type": "function", "z": "f1", "name": w.phrase(), "func": w.code("javascript") + "\nreturn msg;", "outputs": 1, "x": 300, "y": 120, "wires": [[]]}, lambda: {"id": ident(), "type": "template", "z": "f1", "name": w.word(), "field": "payload", "format": "handlebars", "template": f"<h1>{{{{payload.{w.word()}}}}}</h1>\n{w.code('html')}", "wires": [[]]}, lambda: {"id": ident(), "type": "comment", "z": "f1", "name": w.short(), "info": w.markdown(), "wires": []}, lambda: {"id": ident(), "type": "exec", "z": "f1", "command": w.command(), "addpay": "payload", "append": "", "d": True, "wires": [[], [], []]},
        lambda: {"id": ident(), "type": "inject", "z": "f1", "props": [{"p": "payload"}], "payload": json.dumps(w.json(), ensure_ascii=False), "payloadType": "json", "repeat": "", "wires": [[]]}, lambda: {"id": ident(), "type": "switch", "z": "f1", "property": "payload", "rules": [{"t": "regex", "v": w.regex(), "vt": "str"}, {"t": "jsonata_exp", "v": f"$sum(payload.{w.word()}) > {r.randint(1, 9)} and $contains(topic, '{w.word()}')", "vt": "jsonata"}], "wires": [[], []]}, lambda: {"id": ident(), "type": "http request", "z": "f1", "d": True, "method": "GET", "url": w.url(), "wires": [[]]},
    ])()
    flows = lambda: {"flows": [{"id": "f1", "type": "tab", "label": w.phrase(), "disabled": True, "info": w.prose()}, *[node() for _ in range(r.randint(1, 4))]], "rev": w.token(32, "0123456789abcdef")}
    r.choice([lambda: p.ajax("POST", "/flows", flows(), extra=[("Node-RED-Deployment-Type", "full"), ("Node-RED-API-Version", "v2")]), lambda: p.ajax("POST", "/flow", {"label": w.phrase(), "disabled": True, "nodes": [node() for _ in range(2)]}), lambda: p.ajax("POST", "/settings/user", {"editor": {"view": {"view-zoom": 1}, "recent": [w.query()]}, "menu-menu-item-sidebar": True}), lambda: p.ajax("POST", f"/library/local/functions/{urllib.parse.quote(w.word())}.js", f"// name: {w.phrase()}\n{w.code('javascript')}", "text/plain"), lambda: p.ajax("GET", f"/context/global?keysOnly&q={q(w.query())}"), lambda: p.go("/")])()


def tiddlywiki(work, port, _):
    site = work / "site-tiddlywiki"
    shutil.rmtree(site, ignore_errors=True)
    from apps import quiet

    quiet(work / "node/node_modules/.bin/tiddlywiki", str(site), "--init", "server")
    return [work / "node/node_modules/.bin/tiddlywiki", str(site), "--listen", f"port={port}", "host=127.0.0.1"], site


def tiddlywiki_call(p):
    w, r = p.words, p.rng
    title = w.short().replace("/", " ")[:80]
    header = [("X-Requested-With", "TiddlyWiki")]
    text = lambda: r.choice([w.markdown, w.rich, lambda: f"! {w.phrase()}\n\n{w.prose()}\n\n```\n{w.code()}\n```\n\n<$list filter=\"[tag[{w.word()}]!sort[modified]limit[{r.randint(1, 9)}]]\">\n\n* {{{{!!title}}}}\n\n</$list>\n<<{w.word()} \"{w.phrase()}\">> {{{{{w.phrase()}||tpl}}}}"])()
    r.choice([lambda: p.ajax("PUT", f"/recipes/default/tiddlers/{urllib.parse.quote(title, safe='')}", {"title": title, "tags": f"[[{w.phrase()}]] {w.word()}", "text": text(), "fields": {"created": "20261121101500000", "creator": w.name()}}, extra=header), lambda: p.ajax("PUT", "/recipes/default/tiddlers/%24%3A%2FStoryList", {"title": "$:/StoryList", "text": "", "fields": {"list": f"[[{title}]] GettingStarted"}}, extra=header), lambda: p.ajax("GET", f"/recipes/default/tiddlers.json?filter={q(f'[all[tiddlers]!is[system]search:title[{w.word()}]sort[title]]')}", extra=header), lambda: p.ajax("GET", f"/recipes/default/tiddlers/{urllib.parse.quote(title, safe='')}", extra=header), lambda: p.ajax("PUT", "/recipes/default/tiddlers/Draft%20of%20'New%20Tiddler'", {"title": "Draft of 'New Tiddler'", "draft.of": "New Tiddler", "text": text(), "fields": {}}, extra=header)])()


YOGA = """const {createYoga, createSchema} = require('graphql-yoga'); const {createServer} = require('http');
const notes = []; const typeDefs = `scalar JSON type Author { name: String mail: String } type Note { id: ID title: String body: String tags: [String] author: Author }
input Filter { title: String gt: Int not: String or: [String] } type Query { notes(search: String, first: Int, filter: Filter, orderBy: String): [Note] note(id: ID!): Note }
type Mutation { addNote(title: String!, body: String, tags: [String]): Note login(user: String!, password: String!): String }`;
createServer(createYoga({schema: createSchema({typeDefs, resolvers: {Query: {notes: () => notes.slice(-20), note: (_, {id}) => notes[id]},
Mutation: {addNote: (_, note) => { notes.push({id: notes.length, ...note}); return note; }, login: () => 'token'}}})})).listen(Number(process.argv[2]), '127.0.0.1');"""


def graphql(work, port, _):
    site = work / "node"
    (site / "yoga.js").write_text(YOGA)
    return ["node", "yoga.js", port], site


def graphql_call(p):
    w, r = p.words, p.rng
    both = lambda value: p.ajax("POST", "/graphql", value) if r.random() < 0.6 else program(p, "POST", "/graphql", value)
    text = lambda value: json.dumps(value, ensure_ascii=False)
    r.choice([
        lambda: both({"operationName": "Notes", "query": "query Notes($search: String, $first: Int = 20, $filter: Filter) {\n  notes(search: $search, first: $first, filter: $filter) {\n    id\n    title\n    tags\n    author { name __typename }\n    __typename\n  }\n}", "variables": {"search": w.query(), "first": r.randint(1, 50), "filter": {"or": [w.phrase(), w.word()], "gt": r.randint(1, 9)}}}), lambda: both({"query": f"mutation {{ addNote(title: {text(w.short())}, body: {text(w.long())}, tags: {text([w.word(), w.phrase()])}) {{ id title }} }}"}), lambda: both({"operationName": "Add", "query": "mutation Add($title: String!, $body: String) { addNote(title: $title, body: $body) { ...F } } fragment F on Note { id title body }", "variables": {"title": w.short(), "body": w.markdown()}}), lambda: p.ajax("GET", f"/graphql?query={q('{ notes(search: ' + text(w.query()) + ') { id title } }')}&variables=%7B%7D"), lambda: both({"query": "query IntrospectionQuery { __schema { queryType { name } types { kind name fields(includeDeprecated: true) { name args { name type { kind name ofType { name } } } } } } }"}), lambda: both([{"query": "{ notes { id } }"}, {"query": f"{{ note(id: {r.randint(1, 99)}) {{ title @include(if: true) body }} }}"}]), lambda: both({"query": "mutation ($u: String!, $p: String!) { login(user: $u, password: $p) }", "variables": {"u": w.email(), "p": w.password()}, "extensions": {"persistedQuery": {"version": 1, "sha256Hash": w.token(64, "0123456789abcdef")}}}),
    ])()


def pouchdb(work, port, _):
    site = empty(work / "site-pouchdb")
    return [work / "node/node_modules/.bin/pouchdb-server", "--host", "127.0.0.1", "--port", port, "-m", "-n"], site


def pouchdb_call(p):
    w, r = p.words, p.rng
    both = lambda *args: p.ajax(*args) if r.random() < 0.6 else program(p, *args)
    selector = lambda: r.choice([lambda: {"$and": [{"type": "note"}, {"title": {"$regex": w.regex()}}]}, lambda: {"price": {"$gt": r.randint(1, 99), "$lte": 500}, "name": {"$ne": None}}, lambda: {"tags": {"$elemMatch": {"$eq": w.word()}}}, lambda: {"$or": [{"author": w.name()}, {"author": {"$exists": False}}]}, lambda: {"name": {"$in": [w.word(), w.name()]}, "$not": {"done": True}}])()
    r.choice([
        lambda: both("PUT", f"/shop/{w.uuid()}", {"type": "note", "title": w.short(), "text": w.long(), "tags": [w.word()]}), lambda: both("POST", "/shop/_find", {"selector": selector(), "fields": ["_id", "title"], "sort": [{"title": "asc"}], "limit": 20}), lambda: both("POST", "/shop/_bulk_docs", {"docs": [w.json() if isinstance(w.json(), dict) else {"t": w.prose()} for _ in range(3)]}), lambda: both("PUT", f"/shop/_design/{w.word()}", {"views": {"by": {"map": f"function (doc) {{ if (doc.type === '{w.word()}' && doc.n > 1) {{ emit(doc.title, null); }} }}", "reduce": "_count"}}, "filters": {"f": w.code("javascript")}}), lambda: both("GET", f"/shop/_all_docs?include_docs=true&startkey={q(json.dumps(w.word(), ensure_ascii=False))}&endkey={q(json.dumps(w.word() + chr(0xfff0)))}&limit=21"), lambda: both("GET", f"/shop/_changes?style=all_docs&since={r.randint(0, 99)}&heartbeat=10000&limit=25"), lambda: both("PUT", "/shop"),
    ])()


APPS = [
    App("jsonserver", jsonserver, ["/"], None, jsonserver_call, 0.97), App("nodered", nodered, ["/"], None, nodered_call, 0.95, browser=True), App("tiddlywiki", tiddlywiki, ["/"], None, tiddlywiki_call, 0.97, browser=True),
    App("graphql", graphql, ["/graphql"], None, graphql_call, 0.97), App("pouchdb", pouchdb, ["/_utils/", "/"], None, pouchdb_call, 0.95),
]
